"""What is kept in the database: fallbacks that people set while the sidecar runs."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.db.models.signals import post_delete
from django.dispatch import receiver
from django.utils import timezone

from entitlements.domain.bounds import INT32_MAX, INT32_MIN
from entitlements.domain.fallback import FallbackValue
from entitlements.domain.override import MAX_REASON_LENGTH
from entitlements.model_fields import (
    ENTITY_ID_LENGTH,
    FEATURE_ID_LENGTH,
    JsonOfAnybody,
    validate_finite,
    validate_texts,
)
from entitlements.override_row import EntitlementOverride

__all__ = [
    "AuditEntry",
    "CachedCustomer",
    "DeletedFallbackRule",
    "EntitlementOverride",
    "FallbackRule",
    "OutboxEntry",
    "validate_finite",
    "validate_texts",
]


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
    max_stale_seconds = models.FloatField(
        null=True,
        blank=True,
        validators=[validate_finite, MinValueValidator(0.001)],
        help_text="Confirmed by the cloud longer ago, and not confirmed again: this rule answers. Empty: "
        "SIDECAR_MAX_STALE_SECONDS.",
    )
    updated_at = models.DateTimeField("changed", default=timezone.now, editable=False)
    """Its version: later than that of whatever it replaced, whichever clock said when."""

    class Meta:
        """How people see it."""

        ordering: ClassVar = ["feature_id"]
        verbose_name = "fallback rule"

    def __str__(self) -> str:
        return self.feature_id

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Saves it as the newest version of the rule of its feature."""
        held = FallbackRule.objects.filter(pk=self.pk).exclude(feature_id=self.feature_id)
        renamed = list(held.values_list("feature_id", flat=True))
        self.updated_at = newer_than_all_of(self.feature_id, *renamed)
        with transaction.atomic():
            super().save(*args, **kwargs)
            for feature_id in renamed:
                DeletedFallbackRule.note(feature_id, at=self.updated_at)

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
            "max_stale_seconds": value.max_stale_seconds,
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
            max_stale_seconds=self.max_stale_seconds,
        )

    def usable_value(self) -> FallbackValue | None:
        """The fallback that it holds; None when it holds none."""
        try:
            return self.as_value()
        except ValidationError:
            return None


class DeletedFallbackRule(models.Model):
    """That a fallback rule was deleted, for pods with a database of their own, which would bring it back."""

    feature_id = models.CharField(max_length=FEATURE_ID_LENGTH, primary_key=True)
    at = models.DateTimeField()

    class Meta:
        """Nobody sees it."""

        default_permissions: ClassVar = ()

    def __str__(self) -> str:
        return self.feature_id

    @classmethod
    def note(cls, feature_id: str, *, at: datetime) -> None:
        """Notes it as of that moment."""
        cls.objects.update_or_create(feature_id=feature_id, defaults={"at": at})


def newer_than_all_of(*feature_ids: str) -> datetime:
    """Now, or just after the newest version of these rules where some clock is ahead of ours."""
    rules = FallbackRule.objects.filter(feature_id__in=feature_ids).values_list("updated_at", flat=True)
    deleted = DeletedFallbackRule.objects.filter(feature_id__in=feature_ids).values_list("at", flat=True)
    return max([timezone.now(), *(each + timedelta(microseconds=1) for each in (*rules, *deleted))])


@receiver(post_delete, sender=FallbackRule)
def _note_deletion(instance: FallbackRule, **_: Any) -> None:
    at = max(newer_than_all_of(instance.feature_id), instance.updated_at + timedelta(microseconds=1))
    DeletedFallbackRule.note(instance.feature_id, at=at)


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


class AuditEntry(models.Model):
    """One change by a person or a command."""

    at_ms = models.BigIntegerField(db_index=True)
    act = models.CharField(max_length=50)
    subject = models.CharField(max_length=ENTITY_ID_LENGTH)
    who = models.CharField(max_length=FEATURE_ID_LENGTH)
    whence = models.CharField("from", max_length=FEATURE_ID_LENGTH)
    before = JsonOfAnybody(null=True, blank=True)
    after = JsonOfAnybody(null=True, blank=True)
    reason = models.CharField(max_length=MAX_REASON_LENGTH, blank=True)

    class Meta:
        """How people see it, and what they may be allowed."""

        default_permissions: ClassVar = ("view",)
        verbose_name = "change"
        verbose_name_plural = "audit trail"

    def __str__(self) -> str:
        return f"{self.act} {self.subject}"
