#!/usr/bin/env python
"""Hands over to Django."""

import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sidecar_project.settings")
    if sys.argv[1:2] == ["probe"] and not {"-h", "--help"} & set(sys.argv):
        from sidecar_project import probe

        sys.exit(probe.main(sys.argv[2:], os.environ, out=sys.stdout))
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
