"""Rows of the database as values; those that are as they were at the last look are not read again."""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet

Row = TypeVar("Row", bound=Model)
Record = TypeVar("Record")
_Columns = tuple[object, ...]
"""Of one row, the primary key first."""


class ParsedRows(Generic[Row, Record]):
    """What the last look found; belongs to one thread."""

    def __init__(self, parse: Callable[[Row], Record]) -> None:
        """Has found nothing.

        Args:
            parse: what a row holds; raises ValidationError where that cannot be used.
        """
        self._parse = parse
        self._found: dict[object, tuple[_Columns, Record]] = {}

    def look(self, rows: "QuerySet[Row]", skip: Callable[[Row, str], None]) -> Iterator[Record]:
        """What the rows hold; `skip` is called with each that cannot be used, and which of its fields."""
        before, self._found = self._found, {}
        for columns in rows.values_list(*(each.attname for each in rows.model._meta.concrete_fields)):
            found = before.get(columns[0])
            if found is None or found[0] != columns:
                row = rows.model(*columns)
                try:
                    found = columns, self._parse(row)
                except ValidationError as error:
                    skip(row, f"{', '.join(sorted(error.message_dict))} cannot be used")
                    continue
            self._found[columns[0]] = found
            yield found[1]
