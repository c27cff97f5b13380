"""The fallbacks in force and where each is configured; the database's rules are edited here."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NamedTuple
from urllib.parse import urlencode

from django import forms
from django.contrib import admin
from django.db.models import Field, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from unfold.widgets import UnfoldAdminTextInputWidget

from entitlements.admin.audited import Audited, record
from entitlements.admin.comma_values import CommaValues
from entitlements.admin.rows import RowsAdmin
from entitlements.admin.site import site
from entitlements.audit import Change
from entitlements.composition import sidecar
from entitlements.composition.shared_tables import sharing_context
from entitlements.domain.fallback import FallbackOrigin, FallbackValue
from entitlements.models import FallbackRule

SHOWN = 200
"""How many features of the effective configuration are listed."""


class InForce(NamedTuple):
    """The fallback of one feature, and where it comes from."""

    feature_id: str
    value: FallbackValue
    origin: FallbackOrigin
    overrides: FallbackValue | None
    """What ENTITLEMENTS_FALLBACK would have it be, where a rule of the database goes before it."""
    link: str | None
    """Where it is changed, for who may."""

    @property
    def terms(self) -> str:
        """What it answers besides the verdict."""
        return terms_of(self.value)


def effective(
    environment: Mapping[str, FallbackValue], rules: Iterable[FallbackRule]
) -> list[tuple[str, FallbackValue, FallbackOrigin, FallbackValue | None]]:
    """By feature: what is in force, from where, and what it hides of ENTITLEMENTS_FALLBACK."""
    values = {rule.feature_id: rule.usable_value() for rule in rules if rule.is_active}
    stored = {feature_id: value for feature_id, value in values.items() if value is not None}
    return [
        (
            feature_id,
            stored.get(feature_id) or environment[feature_id],
            FallbackOrigin.DATABASE if feature_id in stored else FallbackOrigin.ENVIRONMENT,
            environment.get(feature_id) if feature_id in stored else None,
        )
        for feature_id in sorted({*environment, *stored})
    ]


def terms_of(value: FallbackValue) -> str:
    """The fields of a fallback that are set, besides its verdict."""
    given = {
        "limit": value.usage_limit,
        "used": value.current_usage,
        "value": value.value,
        "stale for at most seconds": value.max_stale_seconds,
        "values": value.enum_values and ", ".join(value.enum_values),
    }
    parts = [f"{name} {field:g}" for name, field in given.items() if isinstance(field, int | float)]
    parts += [f"{name} {field}" for name, field in given.items() if isinstance(field, str)]
    parts += ["unlimited"] * bool(value.is_unlimited) + ["soft limit"] * bool(value.has_soft_limit)
    return ", ".join(parts)


class RuleForm(forms.ModelForm):  # type: ignore[type-arg]
    """A rule as it is typed; what says two things at once is refused."""

    enum_values = CommaValues(
        label="Enum values, by commas", required=False, widget=UnfoldAdminTextInputWidget
    )

    class Meta:
        """All that a person sets."""

        model = FallbackRule
        exclude: ClassVar = ["updated_at"]

    def clean(self) -> dict[str, Any]:
        """A limit counts from zero, and what is denied has no limit to be lifted."""
        fields: dict[str, Any] = super().clean() or self.cleaned_data
        for name in ("usage_limit", "current_usage"):
            if (fields.get(name) or 0) < 0:
                self.add_error(name, "It must be 0 or more.")
        if fields.get("is_unlimited") and not fields.get("has_access"):
            message = (
                "A rule that denies access cannot be unlimited: have it grant access, or leave this unset."
            )
            self.add_error("is_unlimited", message)
        if fields.get("is_unlimited") and fields.get("usage_limit") is not None:
            message = "Either unlimited or a limit: leave one of them unset."
            self.add_error("usage_limit", message)
        return fields


@admin.register(FallbackRule, site=site)
class FallbackRuleAdmin(Audited, RowsAdmin):
    """Rules of the database: in force within a second, without a restart."""

    audited_as = "fallback"
    form = RuleForm

    list_display: ClassVar = ["feature_id", "verdict", "terms", "is_active", "changed"]
    list_filter: ClassVar = ["is_active"]
    search_fields: ClassVar = ["feature_id"]
    list_per_page = 50
    list_before_template = "entitlements/fallbacks.html"
    actions: ClassVar = ["switch_off", "switch_on"]
    fieldsets: ClassVar = [
        (
            None,
            {
                "fields": ["feature_id", "is_active", "has_access"],
                "description": "What is answered while nothing is known of a customer. A call's own fallback "
                "goes before this rule, ENTITLEMENTS_FALLBACK after it. A rule that grants also grants, by "
                "GetEntitlementV2, to every known customer whose plan lacks the feature; the typed "
                "methods deny there.",
            },
        ),
        ("Metered", {"fields": ["usage_limit", "current_usage", "is_unlimited", "has_soft_limit"]}),
        ("Numeric or enum", {"fields": ["value", "enum_values"]}),
        ("How stale is too stale", {"fields": ["max_stale_seconds"]}),
    ]

    @admin.display(description="answers", ordering="has_access")
    def verdict(self, rule: FallbackRule) -> str:
        """Grants or denies."""
        return "grants access" if rule.has_access else "denies access"

    @admin.display(description="with", empty_value="-")
    def terms(self, rule: FallbackRule) -> str | None:
        """The other fields that are set."""
        value = rule.usable_value()
        return "not in force: a field cannot be used" if value is None else terms_of(value) or None

    @admin.display(description="changed", ordering="updated_at")
    def changed(self, rule: FallbackRule) -> str:
        """When it was last changed."""
        return f"{rule.updated_at:%Y-%m-%d %H:%M:%S} UTC"

    @admin.action(description="Switch off", permissions=["change"])
    def switch_off(self, request: HttpRequest, rules: QuerySet[FallbackRule]) -> None:
        """Leaves the rules to ENTITLEMENTS_FALLBACK or the default."""
        self._switch(request, rules, is_active=False)

    @admin.action(description="Put in force", permissions=["change"])
    def switch_on(self, request: HttpRequest, rules: QuerySet[FallbackRule]) -> None:
        """Has the rules answer again."""
        self._switch(request, rules, is_active=True)

    def formfield_for_dbfield(self, db_field: "Field[Any, Any]", request: HttpRequest, **kwargs: Any) -> Any:
        """Says what is not set in parts."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if isinstance(field, forms.NullBooleanField):
            field.widget.choices = [("unknown", "not set"), ("true", "yes"), ("false", "no")]
        return field

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """What ENTITLEMENTS_FALLBACK has for the feature that is to be overridden."""
        initial: dict[str, Any] = dict(super().get_changeform_initial_data(request))
        configured = sidecar().config.entitlements_fallback.get(str(initial.get("feature_id")))
        return initial if configured is None else initial | FallbackRule.columns(configured)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The rules, below what is in force altogether."""
        in_force = self._in_force(request)
        context = {
            "in_force": in_force[:SHOWN],
            "hidden": max(len(in_force) - SHOWN, 0),
            **sharing_context(sidecar().redis),
        }
        response: HttpResponse = super().changelist_view(request, {**context, **(extra_context or {})})
        return response

    def _switch(self, request: HttpRequest, rules: QuerySet[FallbackRule], *, is_active: bool) -> None:
        given = "Put in force." if is_active else "Switched off."
        changed = list(rules.exclude(is_active=is_active))
        for rule in changed:
            rule.is_active = is_active
            rule.save(update_fields=["is_active", "updated_at"])
            before, after = {"is_active": not is_active}, {"is_active": is_active}
            record(request, Change("fallback.change", rule.feature_id, before=before, after=after))
        self.message_user(request, f"{given} Rules changed: {len(changed)}.")

    def _in_force(self, request: HttpRequest) -> list[InForce]:
        ids = dict(FallbackRule.objects.values_list("feature_id", "pk"))
        rows = effective(sidecar().config.entitlements_fallback, FallbackRule.objects.all())
        return [InForce(*row, link=self._link(request, row[0], ids.get(row[0]))) for row in rows]

    def _link(self, request: HttpRequest, feature_id: str, pk: int | None) -> str | None:
        if pk is not None:
            return reverse("admin:entitlements_fallbackrule_change", args=[pk])
        if not self.has_add_permission(request):
            return None
        return f"{reverse('admin:entitlements_fallbackrule_add')}?{urlencode({'feature_id': feature_id})}"
