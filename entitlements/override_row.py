"""An override as a row of the database."""

from typing import Any, ClassVar

from django.db import models

from entitlements.domain.entity import EntityKey
from entitlements.domain.override import MAX_REASON_LENGTH, Override
from entitlements.model_fields import (
    ENTITY_ID_LENGTH,
    FEATURE_ID_LENGTH,
    JsonOfAnybody,
    validate_finite,
    validate_texts,
)


class EntitlementOverride(models.Model):
    """What a person has answered instead of the cloud's answer; never changed but by ending it."""

    id = models.CharField(max_length=32, primary_key=True)
    customer_id = models.CharField("customer", max_length=ENTITY_ID_LENGTH)
    resource_id = models.CharField("resource", max_length=ENTITY_ID_LENGTH, null=True, blank=True)  # noqa: DJ001 - None is no resource
    feature_id = models.CharField("feature", max_length=FEATURE_ID_LENGTH, blank=True)
    currency_id = models.CharField("currency", max_length=FEATURE_ID_LENGTH, null=True, blank=True)  # noqa: DJ001 - the same
    has_access = models.BooleanField("grants access")
    usage_limit = models.FloatField(null=True, blank=True, validators=[validate_finite])
    value = models.IntegerField(null=True, blank=True)
    enum_values = JsonOfAnybody(null=True, blank=True, validators=[validate_texts])
    reason = models.CharField(max_length=MAX_REASON_LENGTH)
    author = models.CharField(max_length=FEATURE_ID_LENGTH)
    begins_ms = models.BigIntegerField()
    ends_ms = models.BigIntegerField(db_index=True)
    ended_ms = models.BigIntegerField(null=True, blank=True)
    ended_by = models.CharField(max_length=FEATURE_ID_LENGTH, blank=True)
    left_ms = models.BigIntegerField(null=True, blank=True)

    class Meta:
        """How people see it, and what they may be allowed."""

        default_permissions: ClassVar = ("view",)
        permissions: ClassVar = [("break_glass", "Can grant and deny by an override")]
        verbose_name = "override"

    def __str__(self) -> str:
        return self.id

    @classmethod
    def of(cls, override: Override) -> "EntitlementOverride":
        """The row of an override, not yet written."""
        terms = override.enum_values
        return cls(
            id=override.id,
            **cls.columns_of_target(override),
            has_access=override.has_access,
            usage_limit=override.usage_limit,
            value=override.value,
            enum_values=None if terms is None else list(terms),
            reason=override.reason,
            author=override.author,
            begins_ms=override.begins_ms,
            ends_ms=override.ends_ms,
            ended_ms=override.ended_ms,
            ended_by=override.ended_by,
            left_ms=override.left_ms,
        )

    @staticmethod
    def columns_of_target(override: Override) -> dict[str, Any]:
        """The fields that say whom and what it is about."""
        return {
            "customer_id": override.key.customer_id,
            "resource_id": override.key.resource_id,
            "feature_id": override.feature_id,
            "currency_id": override.currency_id,
        }

    @property
    def terms(self) -> str:
        """What bounds it besides its time, in one line."""
        bounds = {"up to": self.usage_limit, "value": self.value, "values": self.enum_values}
        return ", ".join(
            f"{name} {', '.join(map(str, each)) if isinstance(each, list) else f'{each:,g}'}"
            for name, each in bounds.items()
            if each is not None
        )

    @classmethod
    def fault_of_lengths(cls, override: Override) -> str | None:
        """What does not fit into a row, in a sentence that names the field; None: all of it does."""
        for name, text in cls.columns_of_target(override).items():
            length = ENTITY_ID_LENGTH if name in {"customer_id", "resource_id"} else FEATURE_ID_LENGTH
            if text is not None and (len(text) > length or "\x00" in text):
                return f"{name} must be no longer than {length} characters, without NUL"
        return None

    def as_override(self) -> Override:
        """The override that it holds.

        Raises:
            ValidationError: a field holds what nothing of ours would have written.
        """
        self.clean_fields()
        return Override(
            id=self.id,
            key=EntityKey(self.customer_id, self.resource_id),
            feature_id=self.feature_id,
            currency_id=self.currency_id,
            has_access=self.has_access,
            usage_limit=self.usage_limit,
            value=self.value,
            enum_values=None if self.enum_values is None else tuple(self.enum_values),
            reason=self.reason,
            author=self.author,
            begins_ms=self.begins_ms,
            ends_ms=self.ends_ms,
            ended_ms=self.ended_ms,
            ended_by=self.ended_by,
            left_ms=self.left_ms,
        )
