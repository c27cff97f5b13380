"""JSON of others, read field by field: what has not the type it should have is `Malformed`."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from entitlements.domain.errors import SidecarError
from entitlements.domain.moments import LATEST_MS

_Kind = TypeVar("_Kind")


@dataclass(eq=False)
class Malformed(SidecarError):
    """A value that cannot be used; holds what it should have been and where."""

    where: str
    """The document and the field in it; no ids."""
    expected: str

    def __str__(self) -> str:
        return f"{self.where} is not {self.expected}"


class Unwritable(Malformed):
    """A value of ours that JSON has no form for; nobody else is to blame."""

    def __init__(self) -> None:
        super().__init__("a value to write", "JSON")


class Fields:
    """One JSON object; a getter answers None (or a default) for what is missing or null."""

    __slots__ = ("_values", "_where")

    def __init__(self, values: object, where: str) -> None:
        if not isinstance(values, dict):
            raise Malformed(where, "an object")
        self._values: dict[str, Any] = values
        self._where = where

    def has(self, name: str) -> bool:
        """True when the field is there and not null."""
        return self._values.get(name) is not None

    def raw(self, names: Iterable[str]) -> tuple[object, ...]:
        """What these fields hold, whatever that is; None for what is missing."""
        return tuple(map(self._values.get, names))

    def text(self, name: str) -> str | None:
        """A string; half a surrogate pair, which JSON can name and no wire carries, becomes `?`."""
        text = self._typed(name, str, "a string")
        return None if text is None else sendable(text)

    def required_text(self, name: str) -> str:
        """A string that is not empty.

        Raises:
            Malformed: also when it is missing.
        """
        text = self.text(name)
        if not text or text != self._values[name]:  # what is almost an id is almost another's
            raise self._junk(name, "a string that is not empty")
        return text

    def flag(self, name: str) -> bool | None:
        """A boolean."""
        return self._typed(name, bool, "a boolean")

    def number(self, name: str) -> float | None:
        """A finite number."""
        value = self._values.get(name)
        number = finite_number(value)
        if value is not None and number is None:
            raise self._junk(name, "a finite number")
        return number

    def moment(self, name: str) -> int | None:
        """Epoch milliseconds."""
        value = self.number(name)
        if value is None:
            return None
        if abs(value) > LATEST_MS:
            raise self._junk(name, "epoch milliseconds")
        return int(value)

    def nested(self, name: str) -> "Fields | None":
        """An object."""
        value = self._values.get(name)
        return None if value is None else Fields(value, f"{self._where}.{name}")

    def raw_object(self, name: str) -> "dict[str, object] | None":
        """An object, as it is."""
        return self._typed(name, dict, "an object")

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings."""
        values = self._typed(name, list, "a list") or []
        if not all(isinstance(each, str) for each in values):
            raise self._junk(name, "a list of strings")
        return tuple(map(sendable, values))

    def objects(self) -> "list[Fields]":
        """All values of this object, each an object."""
        return [Fields(value, f"{self._where}[]") for value in self._values.values()]

    def _typed(self, name: str, kind: type[_Kind], expected: str) -> _Kind | None:
        value = self._values.get(name)
        if value is not None and not isinstance(value, kind):
            raise self._junk(name, expected)
        return value

    def _junk(self, name: str, expected: str) -> Malformed:
        return Malformed(f"{self._where}.{name}", expected)


_decode = msgspec.json.Decoder().decode


def decoded(text: bytes | bytearray | str) -> Any:
    """What a JSON text holds, read quickly where it is strict JSON, and else as tolerantly as Python does.

    Raises:
        ValueError: it is no JSON; of bad UTF-8 and of numbers with too many digits as well.
        RecursionError: it is nested too deeply.
    """
    try:
        return _decode(text)
    except (msgspec.DecodeError, ValueError):  # NaN, half a surrogate pair, a byte order mark
        return json.loads(text)


def parsed(text: bytes, where: str) -> Fields:
    """The JSON object that the bytes are.

    Raises:
        Malformed: they are none.
    """
    try:
        return Fields(decoded(text), where)
    except (ValueError, RecursionError) as error:  # bad UTF-8 and too many digits are ValueErrors too
        raise Malformed(where, "JSON") from error


_encode = msgspec.json.Encoder(enc_hook=dict).encode


def written(value: object) -> bytes:
    """The value as compact JSON text in UTF-8, as JavaScript writes it: null for a number that is none.

    Raises:
        Unwritable: it holds what JSON has no form for.
    """
    try:
        return _encode(value)
    except (TypeError, ValueError, RecursionError):  # half a surrogate pair has no UTF-8
        return _escaped(value)


def plain_number(value: float | None) -> float | None:
    """The number as JavaScript writes it: 5 and not 5.0; null for what JSON has no form for."""
    if value is None or not math.isfinite(value):
        return None
    return int(value) if value == int(value) and abs(value) < 2**53 else value


def _escaped(value: object) -> bytes:
    """The same by Python's own writer, in ASCII alone."""
    try:
        plain = _as_javascript_has_it(value)
        return json.dumps(plain, allow_nan=False, separators=(",", ":"), default=dict).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise Unwritable from error


def _as_javascript_has_it(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _as_javascript_has_it(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_as_javascript_has_it(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def sendable(text: str) -> str:
    """A text with `?` for half a surrogate pair, which JSON can name and no wire carries."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def finite_number(value: object) -> float | None:
    """A finite number, or None; integers that no double holds are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
