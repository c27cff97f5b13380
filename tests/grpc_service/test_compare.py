"""`compare` asks two sidecars the same, and names the fields in which they differ."""

import asyncio
import io
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.core.management import load_command_class
from django.core.management.base import CommandError, OutputWrapper

from grpc_service.generated import sidecar_pb2 as pb
from grpc_service.management import comparing
from grpc_service.management.pacing import progress
from grpc_service.methods import Call, answered
from grpc_service.reads import path_of
from tests.grpc_service.standing import CUSTOMER, PLANTED, STATE, answering, built, standing, with_planted
from tests.redis_server import free_port


class Ended(NamedTuple):
    code: int
    output: str
    on_stderr: str

    @property
    def as_json(self) -> Any:  # noqa: ANN401, RUF100 - whatever it printed
        return json.loads(self.output)


async def command(name: str, *arguments: str) -> Ended:
    """A command of `manage.py`, on the loop of the test."""
    made = load_command_class("grpc_service", name)
    output, on_stderr = io.StringIO(), io.StringIO()
    made.stdout, made.stderr = OutputWrapper(output), OutputWrapper(on_stderr)
    options = vars(made.create_parser("manage.py", name).parse_args(arguments))
    try:
        code = await made.run(options)  # type: ignore[attr-defined]
    except CommandError as error:
        return Ended(error.returncode, output.getvalue(), str(error))
    return Ended(code, output.getvalue(), on_stderr.getvalue())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What differs is asked again at once."""
    monkeypatch.setattr(comparing, "ASK_AGAIN_SECONDS", (0.01, 0.01))


@pytest.fixture
def file(tmp_path: Path) -> str:
    """One customer who is known, one who is not, and a resource."""
    path = tmp_path / "customers"
    path.write_text(f"{CUSTOMER}\nnobody\n{CUSTOMER}\tr\n")
    return str(path)


@pytest.mark.parametrize("method", PLANTED)
async def test_a_planted_difference_of_each_method_is_named_by_its_field(
    tmp_path: Path, file: str, method: str
) -> None:
    """Also as JSON, with whom it is about and both values; the exit code says that something differs."""
    id_, changed, expected = PLANTED[method]
    other = built(tmp_path / "other", {CUSTOMER: with_planted(id_, **changed)})
    async with (
        standing(other) as (theirs, _),
        standing(built(tmp_path / "ours", {CUSTOMER: STATE})) as (ours, _),
    ):
        ended = await command(
            "compare", file, "--with", theirs, "--address", ours, "--every-method", "--json"
        )

    found = ended.as_json
    named = {each["field"] for each in found["differences"] if each["method"] == method}
    assert 1 == ended.code
    assert expected <= named
    assert {("lasting", CUSTOMER, None)} == {
        (each["verdict"], each["customer"], each["resource"]) for each in found["differences"]
    }
    assert (0, 0, 0) == tuple(found[each] for each in ("transient", "undecided", "unanswered"))


async def test_equal_ones_end_with_0_and_a_summary(tmp_path: Path, file: str) -> None:
    async with (
        standing(built(tmp_path / "other", {CUSTOMER: STATE})) as (theirs, _),
        standing(built(tmp_path / "ours", {CUSTOMER: STATE})) as (ours, _),
    ):
        ended = await command("compare", file, "--with", theirs, "--address", ours)

    assert 0 == ended.code
    assert ["same: 3", "lasting: 0", "transient: 0", "undecided: 0", "unanswered: 0", "customers: 3"] == (
        ended.output.splitlines()[:6]
    )
    assert ended.on_stderr.startswith("comparing customers 3: ")


async def test_the_table_has_a_row_for_each_kind_of_difference_with_an_example(
    tmp_path: Path, file: str
) -> None:
    other = built(tmp_path / "other", {CUSTOMER: with_planted("meter", usageLimit=11)})
    async with (
        standing(other) as (theirs, _),
        standing(built(tmp_path / "ours", {CUSTOMER: STATE})) as (ours, _),
    ):
        ended = await command("compare", file, "--with", theirs, "--address", ours)

    row = ended.output.splitlines()[0].split("  ")
    assert [
        "lasting", "GetEntitlementsStateV2", "entitlements.metered.usage_limit", "1", CUSTOMER, "meter",
        "10.0", "11.0",
    ] == row  # fmt: skip


async def test_what_one_only_saw_earlier_is_distinguished(tmp_path: Path, file: str) -> None:
    """It ends with 0: the next answers agree."""
    async with standing(built(tmp_path / "ours", {CUSTOMER: STATE})) as (ours, server):
        asked: list[bytes] = []
        method = next(each for each in server.methods if each.path == path_of("GetEntitlementsStateV2"))

        async def behind(_path: str, request: bytes) -> bytes:
            asked.append(request)
            if len(asked) < 3:  # the first is asked once before all
                return b""
            return (await answered(method, request, Call()))[0]

        async with answering(behind) as theirs:
            ended = await command("compare", file, "--with", theirs, "--address", ours, "--json")

    assert 0 == ended.code
    assert 1 == ended.as_json["transient"]
    assert 0 == ended.as_json["lasting"]


async def test_nobody_to_ask_and_nothing_to_ask_about_is_reported(tmp_path: Path, file: str) -> None:
    """In one sentence each, with 2."""
    away = f"127.0.0.1:{free_port()}"
    empty = tmp_path / "empty"
    empty.write_text("\n")
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    async with standing(built(tmp_path / "ours", {CUSTOMER: STATE})) as (ours, _):
        ended = [
            await command("compare", file, "--with", away, "--address", ours),
            await command("compare", str(empty), "--with", ours, "--address", ours),
            await command("compare", str(tmp_path / "missing"), "--with", ours, "--address", ours),
            await command("compare", str(binary), "--with", ours, "--address", ours),
            await command("compare", file, "--with", ours, "--address", ours, "--rate", "0"),
        ]

    assert [2] * 5 == [each.code for each in ended]
    assert [
        f"no sidecar answers at {away} (UNAVAILABLE)",
        "there is no customer to ask about",
        f"{tmp_path / 'missing'} cannot be used (No such file or directory)",
        f"{binary} cannot be used (it is no text)",
        "--rate must be a number above 0",
    ] == [each.on_stderr for each in ended]


async def test_what_is_not_answered_is_counted_and_is_no_difference(tmp_path: Path, file: str) -> None:
    """The exit code says that not all was asked."""
    monitored: list[bytes] = []

    async def fails_later(_path: str, request: bytes) -> bytes:
        monitored.append(request)
        if len(monitored) > 1:
            await asyncio.sleep(60)
        return pb.GetEntitlementsStateV2Response().SerializeToString()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(comparing, "CALL_SECONDS", 1.0)
        async with (
            answering(fails_later) as theirs,
            standing(built(tmp_path / "ours", {CUSTOMER: STATE})) as (ours, _),
        ):
            ended = await command("compare", file, "--with", theirs, "--address", ours, "--json")

    assert 2 == ended.code
    assert 3 == ended.as_json["unanswered"]
    assert {"theirs: DEADLINE_EXCEEDED": 3} == ended.as_json["causes"]


async def test_two_environments_are_not_compared_to_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When so much differs, that is said."""
    monkeypatch.setattr(comparing, "MAX_DIFFERING", 5)
    names = [f"c{number}" for number in range(200)]
    customers = tmp_path / "many"
    customers.write_text("\n".join(names))
    async with (
        standing(built(tmp_path / "other", {})) as (theirs, _),
        standing(built(tmp_path / "ours", dict.fromkeys(names, STATE))) as (ours, _),
    ):
        ended = await command("compare", str(customers), "--with", theirs, "--address", ours, "--json")

    assert 1 == ended.code
    assert 5 <= ended.as_json["lasting"] < 100
    assert "are both of one environment?" in ended.on_stderr


async def test_no_more_questions_a_second_than_the_rate(tmp_path: Path) -> None:
    customers = tmp_path / "many"
    customers.write_text("\n".join(f"c{number}" for number in range(60)))
    async with standing(built(tmp_path / "ours", {})) as (ours, _):
        began = time.perf_counter()
        ended = await command("compare", str(customers), "--with", ours, "--address", ours, "--rate", "100")
        took = time.perf_counter() - began

    assert 0 == ended.code
    assert took >= 59 / 100


def test_in_a_pipe_a_line_now_and_then_says_when_it_will_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grpc_service.management.pacing.REPORT_SECONDS", 0.0)
    lines: list[str] = []

    with progress("comparing", total=20_000, rate=500, write=lines.append) as advance:
        advance()

    assert "comparing 20,000: 40 s or more" == lines[0]
    assert lines[1].startswith("comparing: 1 of 20,000, about ")
