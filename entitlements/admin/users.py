"""Who may come in."""

from http import HTTPStatus

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest, HttpResponse
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from entitlements.admin.audited import Audited, record
from entitlements.admin.rows import RowsAdmin, SaysWhose
from entitlements.admin.site import site
from entitlements.audit import Change


@admin.register(User, site=site)
class SidecarUserAdmin(SaysWhose, Audited, UserAdmin, RowsAdmin):  # type: ignore[type-arg]
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
class SidecarGroupAdmin(SaysWhose, Audited, GroupAdmin, RowsAdmin):  # type: ignore[misc]  # the same method, annotated otherwise
    """Groups; `viewers` may look and explain, and change nothing."""

    audited_as = "group"
