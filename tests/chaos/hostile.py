"""What a hostile world sends: ids of every kind, JSON that only looks right, bytes with mistakes in them.

`FUZZ_SCALE` multiplies how much is tried (1: the ordinary tests), `FUZZ_SEED` says which of it.
"""

import json
import os
from random import Random
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

SCALE = int(os.environ.get("FUZZ_SCALE", "1"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))

IDS = (
    "plain",
    # names that are parts of other names in Redis
    *("a", "b", "a:r_b", "a:r_b:r_c", "a:f_f", "a:credit_c", "a#timestamp", "a:metadata", "a:r_b:metadata"),
    *("a:b", "a::r_b", ":r_b", "a:r_", "a:f_", ":", "#", "*", "[a]", "a*", "\\", "{a}", "sidecar:outbox"),
    # names that are parts of an address
    *("a/b", "..", ".", "../a", "a%41b", "%", "%00", "a?resourceId=b", "a#b", "a&b=c", "a b", " ", "a+b"),
    # names that are parts of a line, a page, a query
    *("a\nb", "a\r\nX-API-KEY: b", "\t", "\x00", "a\x00b", "\x1b[31mred", "\x7f", "\x85", "\u2028"),
    *("<script>alert(1)</script>", "'; DROP TABLE entries; --", '"', "${jndi:ldap://a}", "%s%n%x", "{0}"),
    # names that look alike, or run the other way
    *("é", "e\u0301", "\uff41", "\ufeffa", "a\u200b", "\u202eabc", "😀", "\U0010ffff", "ﷺ", "İ"),
    "x" * 10_240,
)
"""Each is another customer's, whatever it looks like."""

_JUNK: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 0.5, 1e308, -1e308, 2**53 + 1, 10**400, float("nan"), float("inf")),
    *("", "x", "\ud800", "\x00", "x" * 5000, "9" * 5000, "2020-99-99", "0001-01-01T00:00:00+23:59"),
    *(-62_135_596_800_000, 253_402_300_799_999, 253_402_300_800_000, [], {}, [[]], {"": None}, {"\ud800": 1}),
    *("BOOLEAN", "NUMBER", "ENUM", "Incremental", "MONTH", "FeatureEntitlement", "CreditEntitlement"),
)

junk = st.sampled_from(_JUNK) | st.recursive(
    st.sampled_from(_JUNK) | st.text(max_size=5) | st.floats() | st.integers(),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=3), each, max_size=3),
    max_leaves=6,
)


def tries(count: int) -> settings:
    """How many examples in the short form, the same ones each time; others in the long form."""
    return settings(
        max_examples=count * SCALE,
        derandomize=SCALE == 1,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def dumped(value: object) -> str:
    """The JSON text of it, NaN, lone surrogates and all."""
    return json.dumps(value)


@st.composite
def spoiled(draw: st.DrawFn, document: Any) -> Any:
    """The document with some of its values replaced, removed or doubled."""
    if draw(st.integers(0, 11)) == 0:
        return draw(junk)
    if isinstance(document, dict):
        kept = {name: draw(spoiled(value)) for name, value in document.items() if draw(st.integers(0, 19))}
        return kept if draw(st.integers(0, 9)) else kept | {draw(st.text(max_size=3)): draw(junk)}
    if isinstance(document, list):
        items = [draw(spoiled(each)) for each in document]
        return items if draw(st.integers(0, 9)) else items * 2
    return document


@st.composite
def spoiled_text(draw: st.DrawFn, document: Any) -> bytes:
    """The JSON text of a spoiled document, at times with mistakes in the text itself."""
    text = dumped(draw(spoiled(document))).encode()
    match draw(st.integers(0, 9)):
        case 0:
            return text[: draw(st.integers(0, len(text)))]
        case 1:
            at = draw(st.integers(0, len(text)))
            return text[:at] + draw(st.binary(max_size=6)) + text[at:]
        case 2:
            depth = draw(st.integers(1, 3000))
            return b"[" * depth + text + b"]" * depth
        case 3:
            name = draw(st.sampled_from(["data", "entitlements", "type", "payload"]))
            return text[:-1] + b',"%s":1}' % name.encode() if text.endswith(b"}") else text
        case _:
            return text


def mutated(random: Random, message: bytes) -> bytes:
    """The bytes with one to four mistakes."""
    data = bytearray(message)
    for _ in range(random.randint(1, 4)):
        at = random.randint(0, len(data))
        match random.randint(0, 5):
            case 0:
                del data[at:]
            case 1:
                data[at:at] = random.randbytes(random.randint(1, 8))
            case 2:
                data[at : at + 1] = bytes([random.randrange(256)])
            case 3:
                data[at:at] = b"\xff" * random.randint(1, 11)
            case 4:
                data += data[at:]
            case _:
                del data[at : at + random.randint(1, 4)]
    return bytes(data[:100_000])
