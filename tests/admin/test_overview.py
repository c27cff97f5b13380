"""What the overview says first."""

from collections.abc import Mapping

from entitlements.admin.overview import duration, problems, size

WELL: Mapping[str, object] = {"problem": None, "meaning": "Every change is told."}


def test_nothing_is_said_when_all_is_well() -> None:
    assert [] == list(problems({"feed": WELL}, is_serving=True))


def test_each_trouble_is_told_by_what_it_means() -> None:
    parts: dict[str, Mapping[str, object]] = {
        "feed": WELL,
        "redis": {"problem": "not_answering", "meaning": "Redis does not answer."},
    }

    assert ["Redis does not answer."] == list(problems(parts, is_serving=True))


def test_a_draining_process_says_so() -> None:
    assert ["This process drains: balancers turn elsewhere."] == list(problems({}, is_serving=False))


def test_amounts_are_for_people() -> None:
    assert ["12 B", "1.5 kB", "2.0 GB", "4000.0 GB"] == [size(n) for n in (12, 1500, 2e9, 4e12)]
    assert ["7 s", "2 min", "3 h 20 min", "2 d 1 h"] == [duration(n) for n in (7, 125, 12_000, 176_400)]
