"""Customers in a file: one id a line, or that, a tab and a resource's."""

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from entitlements.domain.entity import EntityKey

STDIN = "-"


def keys_of(file: str) -> Iterator[EntityKey]:
    """Whom a file names; `-` is standard input.

    Raises:
        OSError: it cannot be read.
    """
    with nullcontext(sys.stdin) if file == STDIN else Path(file).open() as lines:
        yield from (_read(line) for line in lines if line.strip())


def written(key: EntityKey) -> str:
    """A line for one."""
    return key.customer_id if key.resource_id is None else f"{key.customer_id}\t{key.resource_id}"


def _read(line: str) -> EntityKey:
    customer_id, separator, resource_id = line.rstrip("\r\n").partition("\t")
    return EntityKey(customer_id, resource_id if separator else None)
