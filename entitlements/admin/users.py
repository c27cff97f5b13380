"""Who may come in, and what was done by whom."""

from typing import ClassVar

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from entitlements.admin.audited import Audited
from entitlements.admin.site import site


@admin.register(User, site=site)
class SidecarUserAdmin(Audited, UserAdmin, ModelAdmin):  # type: ignore[type-arg]
    audited_as = "user"

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


@admin.register(Group, site=site)
class SidecarGroupAdmin(Audited, GroupAdmin, ModelAdmin):
    """Groups; `viewers` may look and explain, and change nothing."""

    audited_as = "group"


@admin.register(LogEntry, site=site)
class ActivityAdmin(ModelAdmin):
    """What was done in these pages: looked at, never changed."""

    list_display: ClassVar = ["action_time", "user", "object_repr", "content_type", "action"]
    list_display_links: ClassVar = None
    list_select_related: ClassVar = ["user", "content_type"]
    list_per_page = 50
    search_fields: ClassVar = ["object_repr", "user__username"]

    @admin.display(description="what")
    def action(self, entry: LogEntry) -> str:
        """What was done, as Django says it."""
        return entry.get_change_message() or entry.get_action_flag_display()

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody: entries are written by actions."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: LogEntry | None = None) -> bool:
        """Nobody."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: LogEntry | None = None) -> bool:
        """Nobody."""
        return False
