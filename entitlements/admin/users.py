"""Who may come in, and what was done by whom."""

from http import HTTPStatus
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import unquote
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest, HttpResponse
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from entitlements.admin.audited import Audited, record
from entitlements.admin.rows import RowsAdmin
from entitlements.admin.site import site
from entitlements.audit import Change
from entitlements.composition.shared_tables import is_one_database


@admin.register(User, site=site)
class SidecarUserAdmin(Audited, UserAdmin, RowsAdmin):  # type: ignore[type-arg]
    audited_as = "user"

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_before_template = "entitlements/kept_in.html"

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:  # noqa: A002 - Django's
        """Another's password; changed, that stands in the audit trail."""
        response: HttpResponse = super().user_change_password(request, id, form_url)
        if request.method == "POST" and response.status_code == HTTPStatus.FOUND:
            record(request, Change("user.password", str(self.get_object(request, unquote(id)))))
        return response

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list, and whose it is."""
        context = {"is_one_database": is_one_database(), **(extra_context or {})}
        response: HttpResponse = super().changelist_view(request, context)
        return response


@admin.register(Group, site=site)
class SidecarGroupAdmin(Audited, GroupAdmin, RowsAdmin):  # type: ignore[misc]  # the same method, annotated otherwise
    """Groups; `viewers` may look and explain, and change nothing."""

    audited_as = "group"


@admin.register(LogEntry, site=site)
class ActivityAdmin(ModelAdmin):
    """What was done in these pages: looked at, never changed."""

    list_display: ClassVar = ["when", "who", "about", "kind", "action"]
    list_display_links: ClassVar = None
    list_select_related: ClassVar = ["user", "content_type"]
    list_per_page = 50
    search_fields: ClassVar = ["object_repr", "user__username"]

    @admin.display(description="when", ordering="action_time")
    def when(self, entry: LogEntry) -> str:
        """To the second."""
        return f"{entry.action_time:%Y-%m-%d %H:%M:%S} UTC"

    @admin.display(description="who", ordering="user")
    def who(self, entry: LogEntry) -> str:
        """Whoever was logged in."""
        return entry.user.get_username()

    @admin.display(description="about", ordering="object_repr")
    def about(self, entry: LogEntry) -> str:
        """What it is called."""
        return entry.object_repr

    @admin.display(description="which is a", ordering="content_type")
    def kind(self, entry: LogEntry) -> str:
        """Rule, user, customer and so on."""
        return "" if entry.content_type is None else entry.content_type.name

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
