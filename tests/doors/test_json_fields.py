"""Reading JSON of others field by field, and writing it as JavaScript does."""

from types import MappingProxyType

import pytest

from entitlements.domain.moments import LATEST_MS
from entitlements.json_fields import Fields, Malformed, Unwritable, parsed, plain_number, written

NESTED = "[" * 100_000


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"nonsense", b"[]", b"1", b"null", b'"{}"', b"\xff", b"\x80\x04\x95.", NESTED.encode()],
    ids=["empty", "open", "words", "list", "number", "null", "string", "bytes", "pickle", "deep"],
)
def test_what_is_no_object_is_junk(text: bytes) -> None:
    with pytest.raises(Malformed, match=r"^usage is not (JSON|an object)$"):
        parsed(text, "usage")


def test_a_number_of_too_many_digits_is_junk() -> None:
    with pytest.raises(Malformed):
        parsed(b'{"a":' + b"1" * 5000 + b"}", "usage")


@pytest.mark.parametrize("getter", ["text", "flag", "number", "moment", "nested", "raw_object"])
@pytest.mark.parametrize("values", [{}, {"a": None}])
def test_what_is_missing_or_null_is_none(getter: str, values: dict[str, object]) -> None:
    fields = Fields(values, "it")

    assert getattr(fields, getter)("a") is None
    assert not fields.has("a")


@pytest.mark.parametrize(
    ("getter", "value"),
    [
        ("text", 1),
        ("text", ["a"]),
        ("required_text", None),
        ("required_text", ""),
        ("required_text", 1),
        ("flag", "true"),
        ("flag", 1),
        ("number", "1"),
        ("number", True),
        ("number", float("nan")),
        ("number", float("inf")),
        ("number", 10**400),
        ("moment", "2026-01-01T00:00:00Z"),
        ("moment", LATEST_MS + 1),
        ("moment", -LATEST_MS - 1),
        ("nested", []),
        ("nested", "a"),
        ("raw_object", []),
        ("texts", "abc"),
        ("texts", ["a", 1]),
        ("texts", {"a": 1}),
    ],
)
def test_a_wrong_type_is_junk_that_names_the_field(getter: str, value: object) -> None:
    with pytest.raises(Malformed, match=r"^it\.a is not "):
        getattr(Fields({"a": value}, "it"), getter)("a")


@pytest.mark.parametrize(
    ("getter", "value", "expected"),
    [
        ("text", "", ""),
        ("required_text", "b", "b"),
        ("flag", False, False),
        ("number", 0, 0.0),
        ("number", 1.5, 1.5),
        ("moment", 1760000000000, 1760000000000),
        ("moment", 1760000000000.0, 1760000000000),
        ("raw_object", {"b": 1}, {"b": 1}),
        ("texts", ["b", "c"], ("b", "c")),
        ("texts", None, ()),
    ],
)
def test_the_right_type_is_taken(getter: str, value: object, expected: object) -> None:
    assert expected == getattr(Fields({"a": value}, "it"), getter)("a")


def test_objects_are_read_one_in_another() -> None:
    inner = Fields({"a": {"b": "c"}}, "it").nested("a")

    assert inner is not None
    assert inner.text("b") == "c"


def test_all_values_of_an_object_must_be_objects() -> None:
    with pytest.raises(Malformed, match=r"^it\[\] is not an object$"):
        Fields({"a": 1}, "it").objects()


def test_json_is_written_as_javascript_does() -> None:
    document = {"a": None, "ä": [True, 1.5, "\n\U0001f600"], "b": MappingProxyType({"c": 1})}

    assert '{"a":null,"ä":[true,1.5,"\\n\U0001f600"],"b":{"c":1}}'.encode() == written(document)


def test_half_a_surrogate_pair_is_escaped() -> None:
    assert rb'{"a":"\ud800"}' == written({"a": "\ud800"})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (float("nan"), b"null"),
        ({"a": [float("-inf"), 1.5]}, b'{"a":[null,1.5]}'),
        (MappingProxyType({"a": ({"b": float("inf")},)}), b'{"a":[{"b":null}]}'),
    ],
)
def test_what_is_no_number_is_null_as_in_javascript(value: object, text: bytes) -> None:
    """A customer's own metadata may hold it, and it must not keep the customer from being written."""
    assert text == written(value)


@pytest.mark.parametrize("value", [object(), {1: object()}, [float("nan"), object()]])
def test_what_json_has_no_word_for_cannot_be_written(value: object) -> None:
    with pytest.raises(Unwritable):
        written({"a": value})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "None"),
        (5.0, "5"),
        (-0.5, "-0.5"),
        (1e300, "1e+300"),
        (float("inf"), "None"),
        (float("nan"), "None"),
    ],
)
def test_numbers_are_plain(value: float | None, expected: str) -> None:
    assert expected == str(plain_number(value))
