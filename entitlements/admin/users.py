"""Who may come in."""

from http import HTTPStatus
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest, HttpResponse
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from entitlements.admin.audited import Audited, record
from entitlements.admin.rows import RowsAdmin
from entitlements.admin.site import site
from entitlements.audit import Change
from entitlements.composition.shared_tables import is_one_database


class _SaysWhose:
    """Mixed into a ModelAdmin, before it."""

    list_before_template = "entitlements/kept_in.html"

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list, and whose it is."""
        context = {"is_one_database": is_one_database(), **(extra_context or {})}
        response: HttpResponse = super().changelist_view(request, context)  # type: ignore[misc]  # the ModelAdmin's
        return response


@admin.register(User, site=site)
class SidecarUserAdmin(_SaysWhose, Audited, UserAdmin, RowsAdmin):  # type: ignore[type-arg]
    audited_as = "user"

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:  # noqa: A002 - Django's
        """Another's password; changed, that stands in the audit trail."""
        response: HttpResponse = super().user_change_password(request, id, form_url)
        if request.method == "POST" and response.status_code == HTTPStatus.FOUND:
            record(request, Change("user.password", str(self.get_object(request, unquote(id)))))
        return response


@admin.register(Group, site=site)
class SidecarGroupAdmin(_SaysWhose, Audited, GroupAdmin, RowsAdmin):  # type: ignore[misc]  # the same method, annotated otherwise
    """Groups; `viewers` may look and explain, and change nothing."""

    audited_as = "group"
