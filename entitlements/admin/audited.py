"""Has what a page of the admin changes stand in the audit trail, with its fields before and after."""

from typing import Any
from urllib.parse import urlencode

from django.contrib.admin.utils import unquote
from django.db.models import Model, QuerySet
from django.forms import ModelForm
from django.forms.models import model_to_dict
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from entitlements import audit
from entitlements.audit import Change
from entitlements.composition import sidecar


def record(request: HttpRequest, change: Change) -> None:
    """One change by the visitor."""
    built = sidecar()
    who, whence = request.user.get_username(), request.META.get("REMOTE_ADDR", "")
    fields = audit.fields_of(change, who=who, whence=whence, clock=built.clock)
    audit.log(fields)
    audit.keep(fields, kept_days=built.config.sidecar_audit_days)


class Audited:
    """Mixed into a ModelAdmin, before it."""

    audited_as: str
    """The word that its acts begin with."""

    def save_model(self, request: HttpRequest, obj: Model, form: "ModelForm[Any]", change: Any) -> None:
        """Saves; what an object is related to, such as the groups of a user, is saved after it."""
        old = type(obj)._default_manager.filter(pk=obj.pk).first() if change else None
        form.before_save = None if old is None else model_to_dict(old)  # type: ignore[attr-defined]
        super().save_model(request, obj, form, change)  # type: ignore[misc]  # the ModelAdmin's

    def save_related(self, request: HttpRequest, form: "ModelForm[Any]", formsets: Any, change: Any) -> None:
        """Saves the rest, and records what all of it changed."""
        super().save_related(request, form, formsets, change)  # type: ignore[misc]  # the ModelAdmin's
        before: dict[str, Any] | None = form.before_save  # type: ignore[attr-defined]
        after = model_to_dict(form.instance)
        names = [name for name in after if before is None or before.get(name) != after[name]]
        audited = Change(
            f"{self.audited_as}.{'change' if change else 'add'}",
            str(form.instance),
            before=None if before is None else {name: before.get(name) for name in names},
            after={name: after[name] for name in names},
        )
        record(request, audited)

    def log_addition(self, *_: Any) -> Any:
        """Nothing: the audit trail has it, and Django's own log would only grow."""

    log_change: Any = log_addition
    log_deletions: Any = log_addition

    def history_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        """What was changed of it, by whom and from what to what: the audit trail, for who may see that."""
        obj: Model | None = self.get_object(request, unquote(object_id))  # type: ignore[attr-defined]  # the ModelAdmin's
        if obj is None or not request.user.has_perm("entitlements.view_auditentry"):
            page: HttpResponse = super().history_view(request, object_id, *args, **kwargs)  # type: ignore[misc]  # the same
            return page
        trail = reverse("admin:entitlements_auditentry_changelist")
        return HttpResponseRedirect(f"{trail}?{urlencode({'q': str(obj)})}")

    def delete_model(self, request: HttpRequest, obj: Model) -> None:
        """Deletes, and records what was there."""
        before = model_to_dict(obj)
        super().delete_model(request, obj)  # type: ignore[misc]  # the ModelAdmin's
        record(request, Change(f"{self.audited_as}.delete", str(obj), before=before))

    def delete_queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> None:
        """Deletes several, each recorded."""
        gone = [(str(each), model_to_dict(each)) for each in queryset]
        super().delete_queryset(request, queryset)  # type: ignore[misc]  # the ModelAdmin's
        for subject, before in gone:
            record(request, Change(f"{self.audited_as}.delete", subject, before=before))
