"""A wrong answer ends the measuring."""

import pytest

from bench.checking import Counts, WrongAnswer, asked, compare, counts_in
from bench.load import Load
from bench.scenarios import boolean, by_name
from bench.servers import bare
from grpc_service.generated import sidecar_pb2 as pb

PAGE = """
# TYPE sidecar_cache_hits counter
sidecar_cache_hits_total 7.0
# TYPE sidecar_cache_misses counter
sidecar_cache_misses_total 2.0
# TYPE sidecar_grpc_requests counter
sidecar_grpc_requests_total{code="OK",method="GetBooleanEntitlement"} 9.0
sidecar_grpc_requests_total{code="INTERNAL",method="GetBooleanEntitlement"} 1.0
# TYPE sidecar_fallbacks counter
sidecar_fallbacks_total{cause="throttled",feature="other"} 3.0
"""
NOTHING = Counts(hits=0, misses=0, refused=0, fallbacks=0)


def load(*, requests: int = 10, reply_bytes: int = 100) -> Load:
    return Load(requests=requests, seconds=1, p50_us=1, p99_us=1, reply_bytes=reply_bytes)


def test_counts_of_a_page() -> None:
    assert Counts(hits=7, misses=2, refused=1, fallbacks=3) == counts_in(PAGE)


def test_right_answers_pass() -> None:
    compare(
        by_name()["boolean"], load(), NOTHING, Counts(hits=10, misses=0, refused=0, fallbacks=0), b"12345"
    )


@pytest.mark.parametrize(
    ("after", "reported"),
    [
        (Counts(hits=10, misses=0, refused=1, fallbacks=0), "1 calls refused"),
        (Counts(hits=10, misses=0, refused=0, fallbacks=2), "2 fallbacks"),
        (Counts(hits=8, misses=0, refused=0, fallbacks=0), "2 requests that were counted neither"),
        (Counts(hits=9, misses=1, refused=0, fallbacks=0), "1 misses"),
    ],
)
def test_what_the_sidecar_counted_is_held_against_it(after: Counts, reported: str) -> None:
    with pytest.raises(WrongAnswer, match=reported):
        compare(by_name()["boolean"], load(), NOTHING, after, b"12345")


def test_misses_are_right_where_they_are_meant() -> None:
    after = Counts(hits=9, misses=1, refused=0, fallbacks=0)

    compare(by_name()["miss-1-in-100"], load(reply_bytes=0), NOTHING, after, b"12345")


def test_replies_that_are_too_short() -> None:
    with pytest.raises(WrongAnswer, match="99 bytes"):
        compare(by_name()["boolean"], load(reply_bytes=99), None, None, b"12345")


async def test_a_fallback_is_no_right_answer() -> None:
    wrong = pb.GetBooleanEntitlementResponse(has_access=True, is_fallback=True).SerializeToString()

    async with bare("bare aio", wrong) as server:
        with pytest.raises(WrongAnswer, match="GetBooleanEntitlement"):
            await asked(server, boolean())
