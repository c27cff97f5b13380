"""The benchmark of HTTP: every door is asked and answered, and stands in the table."""

import shutil

import pytest

from bench import http_api


async def test_one_short_run() -> None:
    if shutil.which("h2load") is None:
        pytest.skip("there is no h2load on this machine")

    results = await http_api.measured(["uvicorn"], rounds=1, seconds=1)

    assert ["connect-json", "connect-proto", "ofrep-single", "ofrep-bulk", "bare uvicorn"] == list(results)
    assert all(rate > 0 and spent_us > 0 for rate, spent_us, _ in results.values())


def test_the_table_compares_with_the_bare_server() -> None:
    table = http_api._table({"ofrep-single": [500.0, 100.0, 900.0], "bare uvicorn": [1000.0, 50.0, 400.0]})

    assert "| ofrep-single | 500 | 100 | 900 | 0.50 |" in table
