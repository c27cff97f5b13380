"""What people override: in force, with who and why; begun and ended by who has the permission."""

from typing import Any, ClassVar
from urllib.parse import urlencode

from asgiref.sync import async_to_sync
from django import forms
from django.contrib import messages
from django.core.exceptions import BadRequest, PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from entitlements.admin.audited import record
from entitlements.admin.comma_values import CommaValues
from entitlements.admin.site import site
from entitlements.audit import Change
from entitlements.composition import Sidecar, sidecar
from entitlements.composition.shared_tables import sharing_context
from entitlements.domain.decision import Query
from entitlements.domain.entity import EntityKey
from entitlements.domain.override import MAX_REASON_LENGTH, Override, subject_of, terms_of
from entitlements.domain.overriding import is_needless
from entitlements.models import EntitlementOverride
from entitlements.overrides import ledger
from entitlements.overrides.duration import duration_ms
from entitlements.overrides.following import StoredOverrides
from entitlements.service.figures import date_from_ms, duration_from_ms
from entitlements.service.question import DENY, GRANT

MAY_VIEW = "entitlements.view_entitlementoverride"
MAY_OVERRIDE = "entitlements.break_glass"
END = "end"
SHOWN = 100
"""Number of overrides that ended, on the page."""
_AGREEMENT = {True: "says the same by now: end it", False: "says otherwise", None: "is not known here"}


class BeginForm(forms.Form):
    """Whom and what an override is about, for how long, and why."""

    LASTS: ClassVar = [
        ("15m", "15 minutes"),
        ("1h", "1 hour"),
        ("4h", "4 hours"),
        ("1d", "1 day"),
        ("3d", "3 days"),
        ("7d", "7 days"),
    ]

    customer = forms.CharField(strip=False, widget=forms.HiddenInput)
    resource = forms.CharField(required=False, strip=False, widget=forms.HiddenInput)
    feature = forms.CharField(required=False, strip=False, widget=forms.HiddenInput)
    currency = forms.CharField(required=False, strip=False, widget=forms.HiddenInput)
    reason = forms.CharField(label="Reason, for whoever asks tomorrow", max_length=MAX_REASON_LENGTH)
    lasts = forms.ChoiceField(label="For", choices=LASTS, initial="1h")
    limit = forms.FloatField(
        label="Up to this usage or balance (none: no limit)", required=False, min_value=0
    )
    value = forms.IntegerField(label="Value, of a numeric feature", required=False)
    values = CommaValues(label="Enum values, by commas (none: any)", required=False)

    def override(self, *, has_access: bool, author: str, now_ms: int) -> Override:
        """The override of a valid form."""
        asked = self.cleaned_data
        return Override(
            id=ledger.new_id(),
            key=EntityKey(asked["customer"], asked["resource"] or None),
            feature_id=asked["feature"],
            currency_id=asked["currency"] or None,
            has_access=has_access,
            usage_limit=asked["limit"],
            value=asked["value"],
            enum_values=asked["values"] and tuple(asked["values"]),
            reason=asked["reason"],
            author=author,
            begins_ms=now_ms,
            ends_ms=now_ms + duration_ms(asked["lasts"]),
        )


@site.page("overrides/", name="overrides", permission=MAY_VIEW)
def overrides(request: HttpRequest) -> HttpResponse:
    """The list; a POST begins or ends one."""
    built = sidecar()
    stored = built.overrides
    context: dict[str, Any] = {"title": "Overrides"}
    if stored is None:
        return site.render(request, "entitlements/overrides.html", context | {"is_off": True})
    if request.method == "POST":
        if not request.user.has_perm(MAY_OVERRIDE):
            raise PermissionDenied
        return _act(request, built, stored)
    now_ms = built.clock.now_ms()
    running = {each.id: each for each in stored.in_force()}
    rows = ledger.history(limit=SHOWN)
    context |= {
        "may_override": request.user.has_perm(MAY_OVERRIDE),
        "in_force": [
            _row(each, now_ms) | {"cloud": _AGREEMENT[_agrees(built, running[each.id])]}
            for each in rows
            if each.id in running
        ],
        "ended": [_row(each, now_ms) for each in rows if each.id not in running],
        **sharing_context(built.redis),
    }
    return site.render(request, "entitlements/overrides.html", context)


def offered(request: HttpRequest, query: Query) -> dict[str, Any]:
    """What the page that explains a decision needs to have it overridden, for who may."""
    is_on = sidecar().overrides is not None
    if not is_on or not request.user.has_perm(MAY_OVERRIDE):
        return {"override_form": None, "may_override": False}
    target = {
        "customer": query.key.customer_id,
        "resource": query.key.resource_id or "",
        "feature": query.feature_id,
        "currency": query.currency_id or "",
    }
    return {"override_form": BeginForm(initial=target | {"lasts": "1h"}), "may_override": True}


def why_url(override: Override) -> str:
    """The page that explains what it answers."""
    asked = {
        "customer": override.key.customer_id,
        "resource": override.key.resource_id,
        "feature": override.feature_id or None,
        "currency": override.currency_id,
    }
    named = {name: text for name, text in asked.items() if text is not None}
    return f"{reverse('admin:explain')}?{urlencode(named)}"


def _act(request: HttpRequest, built: Sidecar, stored: StoredOverrides) -> HttpResponse:
    act = request.POST.get("act")
    if act == END:
        override = _end(request, built)
    elif act in {GRANT, DENY}:
        override = _begin(request, built, has_access=act == GRANT)
    else:
        message = "act must be grant, deny or end"
        raise BadRequest(message)
    async_to_sync(stored.refresh)()
    return HttpResponseRedirect(reverse("admin:overrides") if override is None else why_url(override))


def _begin(request: HttpRequest, built: Sidecar, *, has_access: bool) -> Override | None:
    form = BeginForm(request.POST)
    if not form.is_valid():
        for field, errors in form.errors.items():
            messages.error(request, f"{field}: {' '.join(map(str, errors))}")
        return None
    author = request.user.get_username()
    override = form.override(has_access=has_access, author=author, now_ms=built.clock.now_ms())
    try:
        ledger.begin(override)
    except ledger.Refused as error:
        messages.error(request, f"Nothing was overridden: {error}.")
        return override if override.key.customer_id else None
    act = "override.grant" if has_access else "override.deny"
    record(request, Change(act, subject_of(override), after=terms_of(override), reason=override.reason))
    verdict = "Granted" if has_access else "Denied"
    messages.success(request, f"{verdict} until {date_from_ms(override.ends_ms, timespec='seconds')}.")
    return override


def _end(request: HttpRequest, built: Sidecar) -> Override | None:
    author, now_ms = request.user.get_username(), built.clock.now_ms()
    ended = ledger.end(request.POST.get("id", ""), by=author, now_ms=now_ms)
    if ended is None:
        messages.warning(request, "It had ended already.")
    else:
        record(request, Change("override.end", subject_of(ended), before=terms_of(ended)))
        messages.success(request, "Ended: the cloud's answer holds again.")
    return ended


def _agrees(built: Sidecar, override: Override) -> bool | None:
    """Whether the cloud's answer as this process knows it comes to the same; None where it knows none."""
    cached = built.memory.peek(override.key)
    if cached is None:
        return None
    query = Query(key=override.key, feature_id=override.feature_id, currency_id=override.currency_id)
    now_ms = built.clock.now_ms()
    return is_needless(override, cached.entity, query, rules=built.rules.current(), now_ms=now_ms)


def _row(row: EntitlementOverride, now_ms: int) -> dict[str, Any]:
    over_ms = row.ends_ms if row.ended_ms is None else min(row.ended_ms, row.ends_ms)
    return {
        "id": row.id,
        "customer": row.customer_id,
        "resource": row.resource_id,
        "subject": row.feature_id or row.currency_id,
        "is_credit": row.currency_id is not None,
        "has_access": row.has_access,
        "terms": row.terms,
        "reason": row.reason,
        "author": row.author,
        "began": date_from_ms(row.begins_ms, timespec="seconds"),
        "ends": date_from_ms(over_ms, timespec="seconds"),
        "left": duration_from_ms(max(over_ms - now_ms, 0)),
        "ended_by": row.ended_by or "its time",
        "why_url": why_url(row.as_override()),
    }
