"""Lists of models in the sidecar's own words."""

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import Model
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldBooleanWidget


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
