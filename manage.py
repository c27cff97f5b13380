#!/usr/bin/env python
"""Hands over to Django."""

from sidecar_project.command import main

if __name__ == "__main__":
    main()
