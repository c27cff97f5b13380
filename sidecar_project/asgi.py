"""Where ASGI traffic goes: HTTP to Django, the feed's channel to its consumer."""

import os

from channels.routing import ChannelNameRouter, ProtocolTypeRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sidecar_project.settings")

_http = get_asgi_application()

from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler  # noqa: E402 - needs the settings

from entitlements.consumers import FEED_CHANNEL, EntitlementFeedConsumer  # noqa: E402 - needs the apps loaded
from sidecar_project.settings import SIDECAR  # noqa: E402

# Nobody runs `collectstatic` for a sidecar: it serves the admin's few files itself, from their packages.
if SIDECAR.config.sidecar_admin_enabled:
    _http = ASGIStaticFilesHandler(_http)
_feed_consumer = EntitlementFeedConsumer.as_asgi()  # type: ignore[no-untyped-call]

application = ProtocolTypeRouter(
    {
        "http": _http,
        "channel": ChannelNameRouter({FEED_CHANNEL: _feed_consumer}),
    }
)
