"""How a soak is judged; the soak itself is `make soak`."""

from dataclasses import replace

import pytest

from tests.chaos.soak import Sample, judged, rise

FLAT = [
    Sample(at=at, rss_mb=700, fds=300, threads=90, redis_mb=2, p50_ms=2, p99_ms=9, answers=500, wrong=0)
    for at in range(5, 905, 5)
]


def test_flat_lines_pass() -> None:
    """Noise is no slope, and the warm-up does not count."""
    noisy = [replace(sample, rss_mb=700 + (number % 2) * 40) for number, sample in enumerate(FLAT)]
    warming = [replace(sample, rss_mb=400) if sample.at < 150 else sample for sample in noisy]

    assert [] == judged(warming)


@pytest.mark.parametrize(
    ("field", "per_sample"), [("rss_mb", 0.2), ("fds", 0.05), ("threads", 0.05), ("p50_ms", 0.02)]
)
def test_a_line_that_rises_is_reported(field: str, per_sample: float) -> None:
    """By its fitted line."""
    rising = [
        replace(sample, **{field: getattr(sample, field) + per_sample * number})
        for number, sample in enumerate(FLAT)
    ]

    (sentence,) = judged(rising)

    assert sentence.startswith(f"{field} rose by")
    assert rise(rising, field) == pytest.approx(per_sample * (len(rising) - 1))


def test_a_wrong_answer_is_reported() -> None:
    """In fine weather there is none."""
    assert ["1 reads were failed, turned elsewhere or fallbacks"] == judged(
        [replace(FLAT[0], wrong=1), *FLAT[1:]]
    )
