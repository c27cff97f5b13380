"""What h2load says is read rightly, or not at all."""

import pytest

from bench.load import Load, LoadFailed, framed, from_h2load, percentiles

OUTPUT = """
finished in 2.00s, 2350.00 req/s, 333.48KB/s
requests: {done} total, 2354 started, {done} done, {succeeded} succeeded, 0 failed, 0 errored, 0 timeout
traffic: 333.48KB (341487) total, 7.18KB (7350) headers (space savings 96.14%), 64.26KB (112) data
"""
LOG = "1795560939300932\t200\t100\n1795560939300977\t200\t200\n1795560939300978\t200\t300\n"


def test_words_of_h2load() -> None:
    load = from_h2load(OUTPUT.format(done=4, succeeded=4), LOG, seconds=2)

    assert Load(requests=4, seconds=2, p50_us=200, p99_us=298, reply_bytes=112) == load
    assert load.per_second == 2


@pytest.mark.parametrize(("done", "succeeded"), [(4, 3), (0, 0)])
def test_failed_requests_are_no_result(done: int, succeeded: int) -> None:
    with pytest.raises(LoadFailed):
        from_h2load(OUTPUT.format(done=done, succeeded=succeeded), LOG, seconds=2)


def test_percentiles() -> None:
    assert percentiles(range(101)) == (50, 99)


def test_framed_message() -> None:
    assert framed(b"abc") == b"\0\0\0\0\3abc"
