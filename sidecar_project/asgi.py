"""Where ASGI traffic goes: HTTP to Django, the feed's channel to its consumer."""

import os

from channels.routing import ChannelNameRouter, ProtocolTypeRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sidecar_project.settings")
_http = get_asgi_application()

from entitlements.consumers import FEED_CHANNEL, EntitlementFeedConsumer  # noqa: E402 - needs the apps loaded

_feed_consumer = EntitlementFeedConsumer.as_asgi()  # type: ignore[no-untyped-call]

application = ProtocolTypeRouter(
    {
        "http": _http,
        "channel": ChannelNameRouter({FEED_CHANNEL: _feed_consumer}),
    }
)
