"""How commands speak: tables in colour on a terminal, plain lines or JSON in a pipe."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

EXIT_YES = 0
"""Yes; done; no fault."""
EXIT_NO = 1
"""No; denied; a fault was found."""
EXIT_NOT_ASKED = 2
"""Used wrongly, or nobody could be asked."""

Style = str


class Printer:
    """Prints rows and values to one stream."""

    def __init__(self, stream: TextIO, *, as_json: bool, is_terminal: bool) -> None:
        """Chooses the manner.

        Args:
            stream: where to print.
            as_json: print JSON, whatever the stream is.
            is_terminal: a person looks at it.
        """
        self._stream = stream
        self._as_json = as_json
        self._console = Console(file=stream, highlight=False) if is_terminal and not as_json else None

    @classmethod
    def of(cls, stdout: Any, *, as_json: bool) -> "Printer":
        """The printer of a command.

        Args:
            stdout: the command's own, which wraps a stream.
            as_json: the person said `--json`.
        """
        return cls(stdout, as_json=as_json, is_terminal=stdout.isatty())

    def verdict(
        self, headline: str, details: Sequence[str], *, style: Style, document: Mapping[str, object]
    ) -> None:
        """A verdict, and what belongs to it.

        Args:
            headline: the verdict.
            details: lines of the form `name: value`.
            style: of the headline, on a terminal.
            document: what JSON shows instead.
        """
        if self._as_json:
            self._stream.write(json.dumps(document) + "\n")
        elif self._console is None:
            self._stream.write("\n".join([headline, *details]) + "\n")
        else:
            self._console.print(Text(headline, style=style))
            for line in details:
                self._console.print(_named(*line.partition(": ")))

    def rows(
        self, rows: Iterable[Mapping[str, object]], *, columns: Sequence[str], styles: Mapping[str, Style]
    ) -> None:
        """A table of these columns.

        Args:
            rows: by column; JSON shows all of a row, the others only the columns.
            columns: in their order.
            styles: of a cell that holds exactly such a text, on a terminal.
        """
        if self._as_json:
            self._stream.write(json.dumps(list(rows)) + "\n")
        elif self._console is None:
            for row in rows:
                self._stream.write("  ".join(str(row[column]) for column in columns).rstrip() + "\n")
        else:
            table = Table(*columns, box=None)
            for row in rows:
                table.add_row(*(_styled(str(row[column]), styles) for column in columns))
            self._console.print(table)

    def values(self, values: Mapping[str, object]) -> None:
        """Names and their values."""
        if self._as_json:
            self._stream.write(json.dumps(values) + "\n")
        elif self._console is None:
            for name, value in values.items():
                self._stream.write(f"{name}: {value}\n")
        else:
            for name, value in values.items():
                self._console.print(_named(name, ": ", str(value)))


def _named(name: str, separator: str, value: str) -> Text:
    return Text.assemble((name + separator, "dim"), value) if separator else Text(name)


def _styled(text: str, styles: Mapping[str, Style]) -> str:
    style = styles.get(text)
    return escape(text) if style is None else f"[{style}]{escape(text)}[/]"
