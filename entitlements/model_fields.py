"""What fields of the database may hold, whoever wrote them."""

from math import isfinite
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models

FEATURE_ID_LENGTH = 255
ENTITY_ID_LENGTH = 1000
"""Of customers and resources, which are not ours to name."""


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
