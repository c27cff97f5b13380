"""One manner for all commands: JSON, plain lines, or a table in colour."""

import io
import json

from entitlements.management.printing import Printer

_ROWS = [{"verdict": "fault", "told": "[it] is so", "more": 1}]


class _Terminal(io.StringIO):
    """Says that it is one."""

    def isatty(self) -> bool:
        return True


def _printed(*, as_json: bool = False, is_terminal: bool = False) -> str:
    stream = io.StringIO()
    printer = Printer(stream, as_json=as_json, is_terminal=is_terminal)
    printer.rows(_ROWS, columns=("verdict", "told"), styles={"fault": "red"})
    return stream.getvalue()


def test_a_pipe_gets_plain_lines() -> None:
    """The columns, and nothing to see in colour."""
    assert _printed() == "fault  [it] is so\n"


def test_json_shows_everything_also_on_a_terminal() -> None:
    """A script gets the same wherever it runs."""
    assert json.loads(_printed(as_json=True, is_terminal=True)) == _ROWS


def test_a_terminal_gets_a_table_and_data_is_no_markup() -> None:
    """Brackets in data are shown as they are."""
    assert "[it] is so" in _printed(is_terminal=True)
    assert "told" in _printed(is_terminal=True)


def test_values_are_lines_or_an_object() -> None:
    """The same values either way."""
    lines, document = io.StringIO(), io.StringIO()
    Printer(lines, as_json=False, is_terminal=False).values({"entries": 1})
    Printer(document, as_json=True, is_terminal=False).values({"entries": 1})

    assert lines.getvalue() == "entries: 1\n"
    assert json.loads(document.getvalue()) == {"entries": 1}


def _verdict(*, as_json: bool = False, is_terminal: bool = False) -> str:
    stream = io.StringIO()
    printer = Printer(stream, as_json=as_json, is_terminal=is_terminal)
    printer.verdict("denied: why", ["used: [1] of 2", "as is"], style="red", document={"hasAccess": False})
    return stream.getvalue()


def test_a_verdict_is_lines_or_an_object() -> None:
    """Brackets in data are shown as they are, on a terminal too."""
    lines = "denied: why\nused: [1] of 2\nas is\n"
    assert lines == _verdict()
    assert lines == _verdict(is_terminal=True)
    assert {"hasAccess": False} == json.loads(_verdict(as_json=True, is_terminal=True))


def test_a_commands_printer_asks_its_stream() -> None:
    """A stream that is no terminal gets plain rows, one that is gets a table with a head."""
    pipe, terminal = io.StringIO(), _Terminal()

    for stream in (pipe, terminal):
        Printer.of(stream, as_json=False).rows(_ROWS, columns=("verdict", "told"), styles={})

    assert "fault  [it] is so\n" == pipe.getvalue()
    assert "verdict" in terminal.getvalue()
