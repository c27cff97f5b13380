"""The audit trail: looked at, filtered, never changed."""

import json
from typing import ClassVar

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from entitlements.admin.site import site
from entitlements.models import AuditEntry
from entitlements.service.figures import date_from_ms


@admin.register(AuditEntry, site=site)
class AuditEntryAdmin(ModelAdmin):
    """Who did what, when, from where, and why; commands too."""

    list_display: ClassVar = ["when", "who", "act", "subject", "was", "became", "reason", "whence"]
    list_display_links: ClassVar = None
    list_filter: ClassVar = ["act"]
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
        return json.dumps(entry.before, ensure_ascii=False) if entry.before else None

    @admin.display(description="after", empty_value="-")
    def became(self, entry: AuditEntry) -> str | None:
        """The same, as they are."""
        return json.dumps(entry.after, ensure_ascii=False) if entry.after else None

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody: entries are written by acts."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        """Nobody."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        """Nobody."""
        return False
