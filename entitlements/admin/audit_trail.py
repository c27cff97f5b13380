"""The audit trail: looked at, filtered, never changed."""

import json
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin import SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from entitlements.admin.rows import SaysWhose
from entitlements.admin.site import site
from entitlements.composition import sidecar
from entitlements.models import AuditEntry
from entitlements.overrides.duration import duration_ms
from entitlements.service.figures import date_from_ms

MAX_CHOICES = 100
"""Of a filter; whoever is not among them is found by the search."""


class Kind(SimpleListFilter):
    """What a change is about: the first word of its act."""

    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Of the acts that there are."""
        acts = AuditEntry.objects.order_by("act").values_list("act", flat=True).distinct()[:MAX_CHOICES]
        return [(each, each) for each in dict.fromkeys(act.partition(".")[0] for act in acts)]

    def queryset(self, request: HttpRequest, entries: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:
        """Those of the kind."""
        kind = self.value()
        return entries if kind is None else entries.filter(act__startswith=f"{kind}.")


class Person(SimpleListFilter):
    """Who did it."""

    title = "who"
    parameter_name = "by"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Whoever did anything."""
        names = AuditEntry.objects.order_by("who").values_list("who", flat=True).distinct()[:MAX_CHOICES]
        return [(each, each) for each in names]

    def queryset(self, request: HttpRequest, entries: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:
        """Those of the person."""
        who = self.value()
        return entries if who is None else entries.filter(who=who)


class Period(SimpleListFilter):
    """How long ago it was."""

    title = "when"
    parameter_name = "within"
    PERIODS: ClassVar = {"1h": "the last hour", "1d": "the last day", "7d": "7 days", "30d": "30 days"}

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """As people ask."""
        return list(self.PERIODS.items())

    def queryset(self, request: HttpRequest, entries: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:
        """Those since then."""
        within = self.value()
        if within not in self.PERIODS:
            return entries
        return entries.filter(at_ms__gte=sidecar().clock.now_ms() - duration_ms(within))


@admin.register(AuditEntry, site=site)
class AuditEntryAdmin(SaysWhose, ModelAdmin):
    """Who did what, when, from where, and why; commands too."""

    list_display: ClassVar = ["when", "who", "act", "subject", "was", "became", "reason", "whence"]
    list_display_links: ClassVar = None
    list_filter: ClassVar = [Kind, "act", Person, Period]
    list_per_page = 50
    search_fields: ClassVar = ["who", "subject", "reason", "whence"]
    ordering: ClassVar = ["-pk"]

    @admin.display(description="when", ordering="at_ms")
    def when(self, entry: AuditEntry) -> str:
        """To the second."""
        return date_from_ms(entry.at_ms, timespec="seconds")

    @admin.display(description="before", empty_value="-")
    def was(self, entry: AuditEntry) -> str | None:
        """The fields that changed, as they were."""
        return _fields(entry.before)

    @admin.display(description="after", empty_value="-")
    def became(self, entry: AuditEntry) -> str | None:
        """The same, as they are."""
        return _fields(entry.after)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody: entries are written by acts."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        """Nobody."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        """Nobody."""
        return False


def _fields(values: dict[str, Any] | None) -> str | None:
    """By name; text as it is, all else as JSON has it."""
    if not values:
        return None
    shown = {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in values.items()
    }
    return "; ".join(f"{name}: {value}" for name, value in shown.items())
