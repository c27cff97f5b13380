"""What a cached entity really costs in memory, so that the bound of the memory tier means what it says.

Counted is every object that an entity refers to, each once per entity, as the allocator rounds it.
Not counted is what exists once per process whoever refers to it: None, booleans, enum members.
An object that two entities share (an interned string, a feature that a source reuses) is counted for both:
whether it is shared cannot be seen from one entity, and counting too much keeps the bound, where counting
too little would break it.
"""

import enum
import gc
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from operator import attrgetter
from sys import getsizeof
from types import MappingProxyType
from typing import NamedTuple

ALLOCATION_UNIT_BYTES = 16
"""CPython's allocator hands out multiples of this."""


class _Shape(NamedTuple):
    """How objects of one type are sized."""

    parts: Callable[..., Iterable[object]] | None = None
    """What an object refers to; None when that is nothing."""
    is_counted: bool = True
    """False for what exists once per process."""


def size_of(root: object) -> int:
    """The bytes that `root` and all it refers to take, by the rules above."""
    total = 0
    seen: set[int] = set()
    rest = [root]
    while rest:
        each = rest.pop()
        if each is None or id(each) in seen:
            continue
        parts, is_counted = _SHAPES.get(type(each)) or _shape_of(type(each))
        if not is_counted:
            continue
        seen.add(id(each))
        total += _rounded_size(each)
        if parts is not None:
            rest.extend(parts(each))
    return total


def growth_by_numbers(before: object, after: object) -> int | None:
    """The bytes by which one grew into the other when only numbers changed; None: more did, or may have.

    It looks at what changed alone, so that a meter which moves among a thousand entitlements is sized as
    quickly as one among ten. A number that was shared and is not any more goes unnoticed.
    """
    if before is after:
        return 0
    kind = type(after)
    if type(before) is not kind:
        return None
    if kind in _NUMBERS:
        return _rounded_size(after) - _rounded_size(before)
    parts, is_counted = _SHAPES.get(kind) or _shape_of(kind)
    if parts is None:
        return 0 if before == after or not is_counted else None
    return _growth_of_parts(tuple(parts(before)), tuple(parts(after)))


def _growth_of_parts(before: tuple[object, ...], after: tuple[object, ...]) -> int | None:
    if len(before) != len(after):
        return None
    grown = 0
    for part_before, part_after in zip(before, after, strict=True):
        if part_before is part_after:  # nearly all: of an entity one meter moves
            continue
        by = growth_by_numbers(part_before, part_after)
        if by is None:
            return None
        grown += by
    return grown


def _rounded_size(each: object) -> int:
    return (getsizeof(each) + ALLOCATION_UNIT_BYTES - 1) & -ALLOCATION_UNIT_BYTES


def _parts_of_dict(mapping: dict[object, object]) -> Iterable[object]:
    return (*mapping.keys(), *mapping.values())


_NUMBERS = (int, float)
_LEAF = _Shape()
_NOT_COUNTED = _Shape(is_counted=False)
_SHAPES: dict[type, _Shape] = {
    type(None): _NOT_COUNTED,
    bool: _NOT_COUNTED,
    dict: _Shape(_parts_of_dict),
    list: _Shape(iter),
    MappingProxyType: _Shape(
        gc.get_referents
    ),  # the only way to the dict behind it, whose size is what counts
}
"""Types that are not here are added when first met."""


def _shape_of(kind: type) -> _Shape:
    return _SHAPES.setdefault(kind, _new_shape(kind))


def _new_shape(kind: type) -> _Shape:
    if issubclass(kind, enum.Enum):
        return _NOT_COUNTED
    if issubclass(kind, tuple):
        return _Shape(iter)
    names = [field.name for field in fields(kind)] if is_dataclass(kind) else []
    if not names:
        return _LEAF
    if len(names) == 1:
        only = attrgetter(names[0])
        return _Shape(lambda value: (only(value),))
    return _Shape(attrgetter(*names))
