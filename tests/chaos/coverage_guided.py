"""One target after the other under atheris, which looks for inputs that reach new code.

`python -m tests.chaos.coverage_guided TARGET -runs=N` ends with 0 when nothing came out of it but the
errors that a parser may raise.
"""

import logging
import os
import sys
from collections.abc import Callable

import atheris  # type: ignore[import-untyped]

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
with atheris.instrument_imports(
    include=["entitlements.cache", "entitlements.outbox", "entitlements.upstream"]
):
    import django

    django.setup()
    from tests.chaos import targets


def main() -> None:
    """Hand the named target to atheris."""
    logging.disable()
    target: Callable[[bytes], None] = targets.TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
