"""The sidebar: the places in the order in which somebody on call needs them."""

from typing import Any, NamedTuple

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import NoReverseMatch, reverse


class Place(NamedTuple):
    """A line of the sidebar."""

    title: str
    icon: str
    """Of the Material Symbols."""
    name: str
    """For `reverse`, without the namespace."""
    permission: str | None = None
    """Who may see it; None: everybody who is logged in."""


_GROUPS: list[tuple[str, list[Place]]] = [
    (
        "Look",
        [
            Place("Overview", "monitoring", "index"),
            Place("Explain", "manage_search", "explain", "entitlements.view_cachedcustomer"),
            Place(
                "Cached customers",
                "database",
                "entitlements_cachedcustomer_changelist",
                "entitlements.view_cachedcustomer",
            ),
            Place("Configuration", "tune", "configuration", "entitlements.view_cachedcustomer"),
            Place("Shadow", "difference", "shadow", "entitlements.view_cachedcustomer"),
        ],
    ),
    (
        "Keep answering",
        [
            Place(
                "Fallback rules",
                "rule",
                "entitlements_fallbackrule_changelist",
                "entitlements.view_fallbackrule",
            ),
            Place("Overrides", "emergency", "overrides", "entitlements.view_entitlementoverride"),
            Place(
                "Outbox",
                "outbox",
                "entitlements_outboxentry_changelist",
                "entitlements.view_outboxentry",
            ),
        ],
    ),
    (
        "Access",
        [
            Place("Users", "person", "auth_user_changelist", "auth.view_user"),
            Place("Groups", "group", "auth_group_changelist", "auth.view_group"),
            Place(
                "Audit trail",
                "history_edu",
                "entitlements_auditentry_changelist",
                "entitlements.view_auditentry",
            ),
        ],
    ),
]


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """What this visitor may go to, for unfold's sidebar."""
    groups = []
    for title, places in _GROUPS:
        items = [item for place in places if (item := _item(place, request)) is not None]
        if items:
            groups.append({"title": title, "separator": True, "items": items})
    return groups


def stylesheet(_request: HttpRequest) -> str:
    """The few rules of our own beside unfold's."""
    return static("entitlements/admin.css")


def _item(place: Place, request: HttpRequest) -> dict[str, Any] | None:
    if place.permission is not None and not request.user.has_perm(place.permission):
        return None
    try:
        link = reverse(f"admin:{place.name}")
    except NoReverseMatch:
        return None
    is_active = request.path == link if place.name == "index" else request.path.startswith(link)
    return {"title": place.title, "icon": place.icon, "link": link, "active": is_active}
