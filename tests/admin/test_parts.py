"""What a part reports of itself, as a page shows it."""

from entitlements.admin.parts import Row, ago, part, said_here

NOW_MS = 1_800_000_000_000
STATE = {"problem": None, "meaning": "Well.", "last_problem": None}


def shown(**details: object) -> list[tuple[str, str]]:
    found = part("feed", STATE | details, now_ms=NOW_MS, may=bool)
    return [(row.name, row.value) for row in found.rows]


def test_a_moment_is_reported_as_a_time_ago_and_stands_behind_it() -> None:
    """One format for those that come as text and as numbers; one that lies ahead is reported as such."""
    found = part(
        "feed",
        STATE
        | {
            "since": "2027-01-15T07:59:30+00:00",
            "since_ms": NOW_MS - 3_600_000,
            "next_end_ms": NOW_MS + 5000,
        },
        now_ms=NOW_MS,
        may=bool,
    )

    assert [
        Row("so since", "30 s ago", "2027-01-15 07:59:30 UTC"),
        Row("in this phase since", "1 h ago", "2027-01-15 07:00:00 UTC"),
        Row("next end", "in 5 s", "2027-01-15 08:00:05 UTC"),
    ] == found.rows
    assert "less than 1 s ago" == ago(NOW_MS + 50, now_ms=NOW_MS)


def test_what_never_happened_is_no_moment() -> None:
    assert [("last event", "-"), ("since", "-"), ("last well", "-")] == [
        (name.replace("in this phase ", ""), value)
        for name, value in shown(last_event_ms=0, since_ms=0, last_well=None)
    ]


def test_values_are_for_people() -> None:
    tasks = {
        "feed": {"running": True, "failures": 2, "last_failure": "KeyError", "skipped": 0},
        "audit": {"running": False, "failures": 0, "last_failure": None, "skipped": 0},
    }

    assert [
        ("bytes", "1.5 kB"),
        ("oldest age", "2 min"),
        ("risks", "-"),
        ("following", "yes"),
        ("circuits", "edge: open, api: closed"),
        ("tasks", "1 of 2 run; feed: ended 2 times (KeyError), left out 0"),
    ] == shown(
        bytes=1500,
        oldest_age_seconds=120,
        risks=[],
        following=True,
        circuits={"edge": "open", "api": "closed"},
        tasks=tasks,
    )


def test_the_last_error_is_reported_with_its_text_also_when_it_is_over() -> None:
    last = {
        "problem": "lost",
        "meaning": "Changes show late. See `upstream`.",
        "seen": "2027-01-15T07:58:00+00:00",
    }

    found = part("feed", STATE | {"last_problem": last}, now_ms=NOW_MS, may=bool)

    assert Row("Changes show late. See upstream.", "2 min ago", "2027-01-15 07:58:00 UTC") == found.last_error
    assert part("feed", STATE, now_ms=NOW_MS, may=bool).last_error is None


def test_a_page_leads_to_pages_and_not_to_commands() -> None:
    """For who may see them."""
    sentence = "Refused: `manage.py outbox list` shows why; fix the cause, then " + (
        "`manage.py outbox replay` or `discard`."
    )

    assert "Refused: Outbox shows why; fix the cause, then replay or discard them there." == (
        said_here(sentence)
    )
    assert ("Outbox", "/admin/entitlements/outboxentry/") == part(
        "outbox", STATE, now_ms=NOW_MS, may=lambda _: True
    )[-2:]
    assert ("", "") == part("outbox", STATE, now_ms=NOW_MS, may=lambda _: False)[-2:]
