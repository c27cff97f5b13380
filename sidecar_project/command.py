"""The command line: `manage.py` of a checkout and `stigg-sidecar` of an installation are this."""

import os
import sys
from pathlib import Path

REPORT_PROBLEMS_THEMSELVES = ("runsidecar", "doctor", "check", "help")
SHORT = {
    "run": ("runsidecar",),
    "demo": ("runsidecar", "--demo"),
    "demo-fleet": ("runsidecar", "--demo-fleet"),
}
"""Shorter names of what an installation is asked for."""


def main() -> None:
    """Runs the command that the arguments name, and exits."""
    os.umask(0o077)  # what is written (database, outbox, snapshot) is nobody else's to read
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sidecar_project.settings")
    name, *arguments = sys.argv
    if arguments:
        arguments = [*SHORT.get(arguments[0], (arguments[0],)), *arguments[1:]]
    if arguments[:1] == ["probe"] and not {"-h", "--help"} & set(arguments):
        from sidecar_project import probe  # noqa: PLC0415 - quick: without Django

        sys.exit(probe.main(arguments[1:], os.environ, out=sys.stdout))
    from django.core.management import execute_from_command_line  # noqa: PLC0415 - not for a probe

    if arguments:
        _print_problems(arguments[0])
    execute_from_command_line([Path(name).name, *arguments])


def _print_problems(command: str) -> None:
    """A command goes on with what can be used of the environment, and says what cannot."""
    from django.conf import settings  # noqa: PLC0415 - not for a probe

    if command not in REPORT_PROBLEMS_THEMSELVES:
        for problem in settings.SIDECAR_PROBLEMS:
            if not problem.startswith("SERVER_API_KEY is not set"):  # commands need none
                sys.stderr.write(f"warning: {problem}; this command does without it\n")


if __name__ == "__main__":
    main()
