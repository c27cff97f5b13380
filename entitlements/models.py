"""What is kept in the database: fallbacks that people set while the sidecar runs."""

from collections.abc import Iterable
from math import isfinite
from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from entitlements.domain.bounds import INT32_MAX, INT32_MIN
from entitlements.domain.fallback import FallbackValue

FEATURE_ID_LENGTH = 255


def validate_finite(number: float) -> None:
    """Refuses NaN and infinities, which JSON cannot carry."""
    if not isfinite(number):
        raise ValidationError("It must be a finite number.")


def validate_texts(values: object) -> None:
    """Refuses what is not a list of texts."""
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValidationError('It must be a JSON list of texts, such as ["basic", "pro"].')


class JsonOfAnybody(models.JSONField):
    """JSON that anybody may have written: what Python cannot read of it is found as text, not as an error.

    Django's own raises while the rows are read (over a number of 5,000 digits), so that one hides all others.
    """

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        """The value, or the text as it stands there."""
        try:
            return super().from_db_value(value, expression, connection)
        except (ValueError, RecursionError):
            return value

    def deconstruct(self) -> Any:
        """The same column as ever: nothing is to be migrated."""
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.JSONField", args, kwargs


class CachedCustomer(models.Model):
    """A place for the cached customers in the admin: permissions and the log of actions, and no table."""

    id = models.CharField("customer id", max_length=FEATURE_ID_LENGTH, primary_key=True)

    class Meta:
        """How people see it, and what they may be allowed."""

        managed = False
        default_permissions: ClassVar = ("view", "change")
        verbose_name = "cached customer"

    def __str__(self) -> str:
        return self.id


class FallbackRule(models.Model):
    """A configured fallback of one feature; it goes before ENTITLEMENTS_FALLBACK while it is active."""

    feature_id = models.CharField("feature id", max_length=FEATURE_ID_LENGTH, unique=True)
    is_active = models.BooleanField(
        "in force", default=True, help_text="Switched off, ENTITLEMENTS_FALLBACK or the default answers."
    )
    has_access = models.BooleanField("grants access", default=False)
    is_unlimited = models.BooleanField("unlimited", null=True, blank=True)
    has_soft_limit = models.BooleanField("soft limit", null=True, blank=True)
    usage_limit = models.FloatField(null=True, blank=True, validators=[validate_finite])
    current_usage = models.FloatField(null=True, blank=True, validators=[validate_finite])
    value = models.IntegerField(
        "numeric value",
        null=True,
        blank=True,
        validators=[MinValueValidator(INT32_MIN), MaxValueValidator(INT32_MAX)],
    )
    enum_values = JsonOfAnybody(
        null=True, blank=True, validators=[validate_texts], help_text='A JSON list, such as ["basic", "pro"].'
    )
    updated_at = models.DateTimeField("changed", auto_now=True)

    class Meta:
        """How people see it."""

        ordering: ClassVar = ["feature_id"]
        verbose_name = "fallback rule"

    def __str__(self) -> str:
        return self.feature_id

    @classmethod
    def too_long(cls, feature_ids: Iterable[str]) -> str | None:
        """The first id that does not fit, or None."""
        return next((each for each in feature_ids if len(each) > FEATURE_ID_LENGTH), None)

    @staticmethod
    def columns(value: FallbackValue) -> dict[str, object]:
        """The fields that hold this fallback, in force."""
        return {
            "is_active": True,
            "has_access": value.has_access,
            "usage_limit": value.usage_limit,
            "is_unlimited": value.is_unlimited,
            "value": value.value,
            "enum_values": None if value.enum_values is None else list(value.enum_values),
            "current_usage": value.current_usage,
            "has_soft_limit": value.has_soft_limit,
        }

    def as_value(self) -> FallbackValue:
        """The fallback that it holds.

        Raises:
            ValidationError: a field holds what no form of ours would have let in.
        """
        self.clean_fields()
        return FallbackValue(
            has_access=self.has_access,
            usage_limit=self.usage_limit,
            is_unlimited=self.is_unlimited,
            value=self.value,
            enum_values=None if self.enum_values is None else tuple(self.enum_values),
            current_usage=self.current_usage,
            has_soft_limit=self.has_soft_limit,
        )

    def usable_value(self) -> FallbackValue | None:
        """The fallback that it holds; None when it holds none."""
        try:
            return self.as_value()
        except ValidationError:
            return None


class OutboxEntry(models.Model):
    """A place for the outbox in the admin: permissions and the log of actions, and no table."""

    id = models.CharField(max_length=FEATURE_ID_LENGTH, primary_key=True)

    class Meta:
        """How people see it, and what they may be allowed."""

        managed = False
        default_permissions: ClassVar = ("view", "change")
        verbose_name = "outbox entry"
        verbose_name_plural = "outbox"

    def __str__(self) -> str:
        return self.id
