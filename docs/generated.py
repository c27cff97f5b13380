"""Files that are written from the code, and held against it."""

import argparse
import sys
from pathlib import Path


def write_or_check(file: Path, text: str, *, description: str | None) -> None:
    """Writes the file, or, with --check, exits with 1 and a sentence when it is out of date."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when out of date")
    if not parser.parse_args().check:
        file.write_text(text)
    elif file.read_text() != text:
        sys.exit(f"docs/{file.name} is out of date: run `make docs`.")
