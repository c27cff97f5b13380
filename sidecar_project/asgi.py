"""Where ASGI traffic goes: HTTP to health, metrics and the admin, the feed's channel to its consumer."""

import os

from channels.routing import ChannelNameRouter, ProtocolTypeRouter

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sidecar_project.settings")

from entitlements.clock import SystemClock
from entitlements.consumers import EntitlementFeedConsumer
from entitlements.frame_channel import FEED_CHANNEL
from sidecar_project.admin_settings import LOGIN_PATH
from sidecar_project.monitoring import (
    Answering,
    Application,
    Entrance,
    MetricsPage,
    Monitoring,
    live,
    not_found,
    ready,
)
from sidecar_project.settings import SIDECAR


def _pages() -> Application:
    """The admin, if there is one; nothing of it is loaded where there is none."""
    if not SIDECAR.config.sidecar_admin_enabled:
        return not_found
    from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler  # noqa: PLC0415
    from django.core.asgi import get_asgi_application  # noqa: PLC0415

    from sidecar_project.admission import Admission  # noqa: PLC0415

    # Nobody runs `collectstatic` for a sidecar: it serves the admin's few files itself, from their packages.
    pages = ASGIStaticFilesHandler(get_asgi_application())
    return Admission(pages, login_path=LOGIN_PATH, monotonic=SystemClock().monotonic)


def _links() -> dict[str, str]:
    """What a person finds at this port."""
    admin = {"/admin/": "who is cached, why somebody was denied, the fallbacks"}
    return {
        **(admin if _config.sidecar_admin_enabled else {}),
        f"/{_config.ready_endpoint_url}?verbose": "how each part is",
        "/metrics": "for Prometheus",
    }


_config = SIDECAR.config
_answers: dict[str, Answering] = {
    f"/{_config.health_endpoint_url}": live,
    f"/{_config.ready_endpoint_url}": ready,
    "/metrics": MetricsPage(),
    "/": Entrance(_links()),
}
_feed_consumer = EntitlementFeedConsumer.as_asgi()  # type: ignore[no-untyped-call]

application = ProtocolTypeRouter(
    {
        "http": Monitoring(_answers, otherwise=_pages()),
        "channel": ChannelNameRouter({FEED_CHANNEL: _feed_consumer}),
    }
)
