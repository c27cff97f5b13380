"""The cached customers: who is held, what they may do, and two acts upon them."""

import json
import os
from collections.abc import Sequence
from typing import Any, ClassVar
from urllib.parse import urlencode

from asgiref.sync import async_to_sync
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import BadRequest, PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import NoReverseMatch, URLPattern, path, reverse
from django.views.decorators.http import require_POST
from unfold.admin import ModelAdmin

from entitlements.admin import acting
from entitlements.admin.audited import record
from entitlements.admin.customer_states import View, accepted, choices, rank_of, state_name, view_of
from entitlements.admin.entitlement_rows import entitlement_rows
from entitlements.admin.history import HISTORY
from entitlements.admin.holdings import (
    Held,
    Listing,
    first_in_memory,
    held_in_memory,
    held_in_redis,
    key_from_text,
    key_text,
    listed_in_memory,
    listed_in_redis,
)
from entitlements.admin.site import site
from entitlements.audit import Change
from entitlements.composition import Sidecar, sidecar
from entitlements.domain.entity import EntityKey
from entitlements.domain.freshness import NEVER
from entitlements.domain.ports import Source
from entitlements.models import CachedCustomer
from entitlements.service.figures import duration_from_ms, size_from_bytes
from entitlements.service.history_document import history_document
from entitlements.upstream.state_documents import state_from_entity

MAX_SELECTED = 200
"""How many are acted upon at a time: more than a page shows."""
_NAME = "admin:entitlements_cachedcustomer"


@admin.register(CachedCustomer, site=site)
class CachedCustomerAdmin(ModelAdmin):
    """A place in the admin without a table: its pages read the tiers."""

    actions: ClassVar = None

    def get_urls(self) -> list[URLPattern]:
        """Ids stand behind the question mark: any of them, also `..`, arrives as it is."""
        wrap = self.admin_site.admin_view
        name = "entitlements_cachedcustomer"
        own = [
            path("customer/", wrap(self.customer_view), name=f"{name}_customer"),
            path("act/", wrap(require_POST(self.act_view)), name=f"{name}_act"),
        ]
        return [*own, *super().get_urls()]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody: customers come by being asked about."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: CachedCustomer | None = None) -> bool:
        """Nobody: what is evicted comes back when it is asked about."""
        return False

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> CachedCustomer:
        """For the log of what was done to it."""
        return CachedCustomer(id=object_id)

    def change_view(self, request: HttpRequest, object_id: str, *_: Any, **__: Any) -> HttpResponse:
        """Where the log of actions leads to."""
        return HttpResponseRedirect(customer_url(EntityKey(unquote(object_id))))

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list, page by page."""
        self._needs_view(request)
        built = sidecar()
        tier = _tier(built, request)
        search = request.GET.get("q", "")
        view = view_of(request)
        listing, held = _listed(built, tier, view, search=search, cursor=request.GET.get("after", ""))
        asked = {"q": search, "tier": tier.value, **view.chosen}
        context = {
            "title": "Cached customers",
            "search": search,
            "rows": [_row(built, each) for each in held],
            "is_answered": listing.is_answered,
            "next_url": listing.following and f"?{urlencode(asked | {'after': listing.following})}",
            "may_act": self.has_change_permission(request),
            "entries": built.memory.entries,
            **_tier_context(built, tier),
            **choices(built, view, tier, search=search),
        }
        return site.render(request, "entitlements/customers.html", context)

    def customer_view(self, request: HttpRequest) -> HttpResponse:
        """One customer, or one of its resources."""
        self._needs_view(request)
        built = sidecar()
        tier = _tier(built, request)
        customer_id = request.GET.get("customer", "")
        if not customer_id:
            return HttpResponseRedirect(reverse(f"{_NAME}_changelist"))
        key = EntityKey(customer_id, request.GET.get("resource"))
        found = next(iter(_held(built, tier, [key])), None)
        context = {
            "title": "Cached customer",
            "key": key,
            "value": key_text(key),
            "customer_url": customer_url(EntityKey(customer_id), tier),
            "held": found and _row(built, found),
            "resources": [
                (each.resource_id, customer_url(each, tier))
                for each in built.memory.resources_of(customer_id)
            ],
            "search_resources_url": f"{reverse(f'{_NAME}_changelist')}?"
            + urlencode({"q": f"{customer_id}:r_", "tier": tier.value}),
            "may_act": self.has_change_permission(request),
            "history": history_document(built.history.of(key)),
            "process": os.getpid(),
            **_tier_context(built, tier),
        }
        if found is not None:
            entity = found.cached.entity
            now_ms = built.clock.now_ms()
            context |= {
                "state_reason": entity.denied_reason and entity.denied_reason.value,
                "entitlements": [
                    (
                        row,
                        _why_url(key, row.id, is_credit=row.kind == "credit"),
                        built.stale_bounds.is_too_stale(
                            "" if row.kind == "credit" else row.id, found.cached, now=built.clock.monotonic()
                        ),
                    )
                    for row in entitlement_rows(
                        entity, now_ms=now_ms, overrides=built.overrides.of(key) if built.overrides else ()
                    )
                ],
                "json": json.dumps(state_from_entity(entity), indent=2, ensure_ascii=False),
            }
        return site.render(request, "entitlements/customer.html", context)

    def act_view(self, request: HttpRequest) -> HttpResponse:
        """Refreshes or evicts what was selected; evicting is asked about first."""
        if not self.has_change_permission(request):
            raise PermissionDenied
        act, keys = request.POST.get("act"), _selected(request)
        if act not in {"refresh", "evict"}:
            message = "act must be refresh or evict"
            raise BadRequest(message)
        back = HttpResponseRedirect(
            customer_url(keys[0]) if len(keys) == 1 else reverse(f"{_NAME}_changelist")
        )
        if not keys:
            messages.warning(request, "Nothing was selected.")
            return back
        built = sidecar()
        if act == "evict" and "sure" not in request.POST:
            context = {"title": "Evict", "keys": [(each, key_text(each)) for each in keys]}
            return site.render(request, "entitlements/evict.html", context)
        if act == "refresh":
            outcome = async_to_sync(acting.refresh)(built, keys)
        else:
            outcome = async_to_sync(acting.evict)(built, keys)
        _log(request, outcome)
        for sentence in outcome.sentences(several_processes=HISTORY.counts_all_workers):
            messages.add_message(request, messages.WARNING if outcome.failed else messages.SUCCESS, sentence)
        return back

    def _needs_view(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied


def customer_url(key: EntityKey, tier: Source | None = None) -> str:
    """The page of a customer or resource."""
    asked = {"customer": key.customer_id}
    if key.resource_id is not None:
        asked["resource"] = key.resource_id
    if tier is not None:
        asked["tier"] = tier.value
    return f"{reverse(f'{_NAME}_customer')}?{urlencode(asked)}"


def _why_url(key: EntityKey, id_: str, *, is_credit: bool) -> str | None:
    asked = {"customer": key.customer_id, "currency" if is_credit else "feature": id_}
    if key.resource_id is not None:
        asked["resource"] = key.resource_id
    try:
        return f"{reverse('admin:explain')}?{urlencode(asked)}"
    except NoReverseMatch:
        return None


def _tier(built: Sidecar, request: HttpRequest) -> Source:
    """Memory is each process's own: of several, Redis is what they share."""
    if built.redis is None:
        return Source.MEMORY
    if HISTORY.counts_all_workers or request.GET.get("tier") == Source.REDIS.value:
        return Source.REDIS
    return Source.MEMORY


def _tier_context(built: Sidecar, tier: Source) -> dict[str, Any]:
    return {
        "tier": tier.value,
        "has_choice": built.redis is not None and not HISTORY.counts_all_workers,
        "is_shared": HISTORY.counts_all_workers,
    }


def _listed(
    built: Sidecar, tier: Source, view: View, *, search: str, cursor: str
) -> tuple[Listing, list[Held]]:
    accepts, rank = accepted(built, view), rank_of(built, view)
    try:
        if tier is Source.REDIS and built.redis is not None:
            listing = async_to_sync(listed_in_redis)(
                built.redis.tier, search=search, cursor=int(cursor or 0), monotonic=built.clock.monotonic
            )
        elif rank is not None:
            listing = first_in_memory(built.memory, search=search, rank=rank, accepts=accepts)
        else:
            after = key_from_text(cursor) if cursor else None
            listing = listed_in_memory(built.memory, search=search, after=after, accepts=accepts)
    except ValueError as error:
        message = "the address names no place in the list"
        raise BadRequest(message) from error
    # Of Redis a page is what was found there: in the chosen state may be fewer of it, and none.
    return listing, [each for each in _held(built, tier, listing.keys) if accepts(each.cached)]


def _held(built: Sidecar, tier: Source, keys: Sequence[EntityKey]) -> list[Held]:
    if tier is Source.REDIS and built.redis is not None:
        return async_to_sync(held_in_redis)(built, built.redis.tier, keys)
    return held_in_memory(built.memory, keys)


def _row(built: Sidecar, held: Held) -> dict[str, Any]:
    now = built.clock.monotonic()
    entity, confirmed_at = held.cached.entity, held.cached.confirmed_at
    return {
        "customer_id": held.key.customer_id,
        "resource_id": held.key.resource_id,
        "url": customer_url(held.key, held.tier),
        "value": key_text(held.key),
        "tier": held.tier.value,
        "state": state_name(built, held.cached, now=now),
        "age": _age(confirmed_at, now),
        "size": "-" if held.size_bytes is None else size_from_bytes(held.size_bytes),
        "entitlements": len(entity.features) + len(entity.credits),
        "reason": entity.denied_reason and entity.denied_reason.value,
    }


def _age(confirmed_at: float, now: float) -> str:
    return "unconfirmed" if confirmed_at == NEVER else duration_from_ms(max(now - confirmed_at, 0) * 1000)


def _selected(request: HttpRequest) -> list[EntityKey]:
    texts = request.POST.getlist("key")
    if len(texts) > MAX_SELECTED:
        message = f"at most {MAX_SELECTED} at a time"
        raise BadRequest(message)
    try:
        return list(dict.fromkeys(key_from_text(text) for text in texts))
    except ValueError as error:
        message = "key names no customer"
        raise BadRequest(message) from error


def _log(request: HttpRequest, outcome: acting.Outcome) -> None:
    for key, message in outcome.messages.items():
        subject = " / ".join(each for each in key if each)
        record(request, Change(f"cache.{outcome.act}", subject, after={"outcome": message}))
