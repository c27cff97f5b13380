"""Values that are typed by commas come back as they were."""

import pytest

from entitlements.admin.comma_values import CommaValues


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", None),
        (" , ,", None),
        ("eu", ["eu"]),
        ("eu,us , de", ["eu", "us", "de"]),
        ('"a, b", c', ["a, b", "c"]),
        ('a, "say ""no"""', ["a", 'say "no"']),
        ("über, ½", ["über", "½"]),
    ],
)
def test_what_is_typed_is_read_and_shown_alike(text: str, values: list[str] | None) -> None:
    field = CommaValues(required=False)

    read = field.clean(text)
    shown = field.prepare_value(read)

    assert values == read
    assert values == field.clean(shown)
    assert not field.has_changed(values, text)


def test_junk_of_a_row_is_shown_as_it_stands() -> None:
    assert "[1, oops" == CommaValues(required=False).prepare_value("[1, oops")
