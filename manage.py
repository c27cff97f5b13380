#!/usr/bin/env python
"""Hands over to Django."""

import os
import sys

TELL_PROBLEMS_THEMSELVES = ("runsidecar", "doctor", "check", "help")


def _tell_problems(command: str) -> None:
    """A command goes on with what can be used of the environment, and says what cannot."""
    from django.conf import settings

    if command not in TELL_PROBLEMS_THEMSELVES:
        for problem in settings.SIDECAR_PROBLEMS:
            if not problem.startswith("SERVER_API_KEY is not set"):  # commands need none
                sys.stderr.write(f"warning: {problem}; this command does without it\n")


if __name__ == "__main__":
    os.umask(0o077)  # what is written (database, outbox, snapshot) is nobody else's to read
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sidecar_project.settings")
    if sys.argv[1:2] == ["probe"] and not {"-h", "--help"} & set(sys.argv):
        from sidecar_project import probe

        sys.exit(probe.main(sys.argv[2:], os.environ, out=sys.stdout))
    from django.core.management import execute_from_command_line

    if sys.argv[1:]:
        _tell_problems(sys.argv[1])
    execute_from_command_line(sys.argv)
