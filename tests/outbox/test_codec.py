"""A write and its text."""

import pytest

from entitlements.outbox.codec import Unreadable, decode, encode
from tests.outbox.outbox_contract import EVENT, REPORT


def test_writes_survive() -> None:
    """Every field."""
    assert EVENT == decode(encode(EVENT))
    assert REPORT == decode(encode(REPORT))


@pytest.mark.parametrize("text", ["", "[]", "{}", "1", '{"customer":"c","resource":null}', "[" * 100_000])
def test_foreign_text_is_unreadable(text: str) -> None:
    """Never another exception."""
    with pytest.raises(Unreadable):
        decode(text)
