"""Several values in one field, typed alike everywhere: by commas, one that holds a comma in double quotes."""

import csv
import io
from typing import Any

from django import forms
from django.core.exceptions import ValidationError


class CommaValues(forms.CharField):
    """A list of texts; an empty field is none at all."""

    def to_python(self, value: Any) -> Any:
        """The values, without the spaces around them; None where there is none."""
        try:
            rows = csv.reader(io.StringIO(str(value or ""), newline=""), skipinitialspace=True)
            values = [each.strip() for row in rows for each in row if each.strip()]
        except csv.Error as error:
            message = "These cannot be told apart: separate them by commas."
            raise ValidationError(message) from error
        return values or None

    def validate(self, value: Any) -> None:
        """There is nothing to be required."""

    def run_validators(self, value: Any) -> None:
        """As text: its length is bounded where one is named."""
        super().run_validators(",".join(value or ()))

    def prepare_value(self, value: Any) -> Any:
        """As people type it."""
        if not isinstance(value, list | tuple):
            return value
        return ", ".join(_typed(str(each)) for each in value)

    def has_changed(self, initial: Any, data: Any) -> bool:
        """By the values, however they are spaced."""
        try:
            return bool(self.to_python(data) != (initial or None))
        except ValidationError:
            return True


def _typed(value: str) -> str:
    if "," not in value and '"' not in value:
        return value
    doubled = value.replace('"', '""')
    return f'"{doubled}"'
