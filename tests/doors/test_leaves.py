"""The small parts at the rim: clock, occasional log, configured rules, checks, metrics."""

import logging
import threading
import time
from itertools import takewhile
from types import SimpleNamespace

import pytest
from django.conf import settings
from prometheus_client import REGISTRY, Counter, generate_latest

from entitlements import metrics
from entitlements.checks import check_configuration
from entitlements.clock import SystemClock, ThreadClocks
from entitlements.deferred_metrics import (
    MAX_NOTED,
    BulkHistogram,
    DeferredCounter,
    DeferredObservations,
    settle_all,
)
from entitlements.domain.fallback import FallbackValue
from entitlements.fallbacks import ConfiguredRules
from entitlements.rate_limited_log import INTERVAL_SECONDS, RateLimitedLog
from tests.fakes import FakeClock


def test_the_clock_is_the_machines() -> None:
    clock, before_ms = SystemClock(), int(time.time() * 1000)

    assert before_ms <= clock.now_ms() <= time.time() * 1000
    assert clock.monotonic() <= clock.monotonic()


def test_each_thread_has_its_own_clock() -> None:
    """What one spends the other does not."""
    spend, spent, end = threading.Event(), threading.Event(), threading.Event()

    def hits() -> None:
        spend.wait()
        until = time.thread_time() + 0.05
        list(takewhile(lambda _: time.thread_time() < until, iter(int, 1)))
        spent.set()
        end.wait()

    thread = threading.Thread(target=hits)
    thread.start()
    assert thread.ident is not None
    clocks = ThreadClocks(thread.ident)
    hits_before, loop_before = clocks.hits_seconds(), clocks.loop_seconds()

    spend.set()
    spent.wait()

    hits_used, loop_used = clocks.hits_seconds() - hits_before, clocks.loop_seconds() - loop_before
    end.set()
    thread.join()
    assert hits_used >= 0.05
    assert loop_used < hits_used


def test_a_condition_is_logged_once_a_minute_with_a_count(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    occasional = RateLimitedLog(logging.getLogger("test"), clock.monotonic)

    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            occasional.warning("empty", "%s is empty", "customer_id")
        occasional.warning("other", "other")
        clock.advance(INTERVAL_SECONDS)
        occasional.warning("empty", "%s is empty", "customer_id")

    reported = [(record.getMessage(), record.__dict__["untold"]) for record in caplog.records]
    assert [("customer_id is empty", 0), ("other", 0), ("customer_id is empty", 2)] == reported


def test_the_configured_rules_are_in_force() -> None:
    rules = {"f": FallbackValue(has_access=True)}

    assert rules == ConfiguredRules(rules).current()


def test_an_unusable_configuration_is_an_error_of_django_s_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "SIDECAR_PROBLEMS", ("GRPC_PORT is 'http'",))

    (error,) = check_configuration()

    assert "GRPC_PORT is 'http'" == error.msg
    assert "sidecar.E001" == error.id


def test_every_metric_is_ours_and_none_is_labelled_with_an_id() -> None:
    """Label values are bounded: the id of a customer or a resource is none."""
    declared = [each for each in vars(metrics).values() if hasattr(each, "_labelnames")]

    assert len(declared) > 20
    for metric in declared:
        names = SimpleNamespace(metric=metric._name, labels=metric._labelnames)
        assert names.metric.startswith("sidecar_")
        assert not {"customer", "customer_id", "resource", "resource_id"} & set(names.labels)
        assert metric in set(REGISTRY._collector_to_names)


def test_notes_are_settled_whole() -> None:
    """What is noted shows once, in order, when it is settled."""
    added: list[float] = []
    notes = DeferredObservations(added.extend)
    notes.note(1.0)
    notes.note(2.0)
    assert [] == added
    notes.settle()
    notes.settle()

    assert [1.0, 2.0] == added


def test_notes_are_bounded() -> None:
    """How many are settled without being asked for."""
    added: list[float] = []
    notes = DeferredObservations(added.extend)
    for _ in range(MAX_NOTED):
        notes.note(1.0)

    assert MAX_NOTED == len(added)


def test_a_tally_is_settled_whole() -> None:
    """What is counted shows once, when it is settled; asking counts nothing."""
    counter = Counter("tallied", "", registry=None)
    tally = DeferredCounter(counter)

    def reported() -> float:
        return float(counter._value.get())

    tally.count()
    tally.count()
    assert 0 == reported()
    tally.settle()
    tally.settle()
    assert 2 == reported()
    tally.count()
    settle_all()
    assert 3 == reported()


def test_a_tally_counts_what_many_threads_count() -> None:
    """Also while it is settled again and again."""
    counter = Counter("tallied_by_many", "", registry=None)
    tally = DeferredCounter(counter)
    threads = [threading.Thread(target=lambda: [tally.count() for _ in range(5000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        tally.settle()
    tally.settle()

    assert 20_000 == counter._value.get()


def test_many_observations_at_once_count_as_each_alone() -> None:
    """The sum and every bucket are the same, at a bound of a bucket and past the last one too."""
    amounts = [0.1, 5.0, 0.3, 0.5, 0.5, 2.0, 0.0]
    singly, at_once = (
        BulkHistogram(name, "", ["method"], buckets=(0.5, 1.0, 2.0), registry=None)
        for name in ("singly", "at_once")
    )
    for amount in sorted(amounts):
        singly.labels("m").observe(amount)
    at_once.labels("m").observe_all(amounts)
    at_once.labels("m").observe_all([])

    values = [
        [(sample.name.partition("_bucket")[1], sample.labels, sample.value) for sample in metric.samples]
        for histogram in (singly, at_once)
        for metric in histogram.collect()
    ]
    assert values[0] == values[1]
    assert 7.0 == values[0][3][2]


def test_scrape_settles_notes() -> None:
    """A page of one process shows everything that was noted before it was asked for."""
    added: list[float] = []
    DeferredObservations(added.extend).note(1.0)
    generate_latest(REGISTRY)

    assert [1.0] == added
