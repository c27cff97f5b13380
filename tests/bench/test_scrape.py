"""The cost of scrapes, worked out from rates."""

from bench.scrape import reported


def test_the_loss_is_reported_as_measured_and_at_the_interval_of_prometheus() -> None:
    assert (
        "without scrapes 1,000 requests/s, with one every 1 s 970: 3.00% less; at one every 15 s 0.20%"
        == reported([900.0, 1100.0], [960.0, 980.0])
    )
