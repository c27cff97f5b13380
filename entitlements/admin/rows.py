"""Lists of models in the sidecar's own words."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldBooleanWidget

from entitlements.composition.shared_tables import is_one_database


def _choice(name: str, value: str, label: str) -> SafeString:
    widget = UnfoldBooleanWidget({"class": "action-select", "aria-label": label}, lambda _: False)
    rendered: SafeString = widget.render(name, value)
    return rendered


class RowsAdmin(ModelAdmin):
    """Rows are chosen by what they are called."""

    @admin.display(description=_choice("action_toggle_all", "1", "Choose all"))
    def action_checkbox(self, obj: Model) -> SafeString:
        """Chooses a row for an action."""
        return _choice(ACTION_CHECKBOX_NAME, str(obj.pk), f"Choose {obj}")


class SaysWhose:
    """Mixed into a ModelAdmin, before it: its list says which pods' it is."""

    list_before_template = "entitlements/kept_in.html"

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list, and whose it is."""
        context = {"is_one_database": is_one_database(), **(extra_context or {})}
        response: HttpResponse = super().changelist_view(request, context)  # type: ignore[misc]  # the ModelAdmin's
        return response
