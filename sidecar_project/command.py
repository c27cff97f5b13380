"""The command line: `manage.py` of a checkout and `stigg-sidecar` of an installation are this."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

REPORT_PROBLEMS_THEMSELVES = ("runsidecar", "doctor", "check", "help")
SHORT = {
    "run": ("runsidecar",),
    "demo": ("runsidecar", "--demo"),
    "demo-fleet": ("runsidecar", "--demo-fleet"),
}
"""Shorter names of what an installation is asked for."""
SETTINGS_VARIABLE = "DJANGO_SETTINGS_MODULE"


def main() -> None:
    """Runs the command that the arguments name, and exits."""
    os.umask(0o077)  # what is written (database, outbox, snapshot) is nobody else's to read
    _choose_settings()
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


def _choose_settings() -> None:
    """Ours, unless others are named that are here; an application's are not, whose variables we may share."""
    named = os.environ.get(SETTINGS_VARIABLE)
    if named and not _is_here(named):
        sys.stderr.write(f"warning: {SETTINGS_VARIABLE} is ignored: there is no {named} here\n")
        named = None
    os.environ[SETTINGS_VARIABLE] = named or "sidecar_project.settings"


def _is_here(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # of a package that is not here, or no name of a module
        return False


def _print_problems(command: str) -> None:
    """A command goes on with what can be used of the environment, and says what cannot."""
    from django.conf import settings  # noqa: PLC0415 - not for a probe

    if command not in REPORT_PROBLEMS_THEMSELVES:
        for problem in settings.SIDECAR_PROBLEMS:
            if not problem.startswith("SERVER_API_KEY is not set"):  # commands need none
                sys.stderr.write(f"warning: {problem}; this command does without it\n")


if __name__ == "__main__":
    main()
