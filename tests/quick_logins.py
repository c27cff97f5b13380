"""The settings of a sidecar whose passwords cost nothing to check, for tests of what follows a login."""

from sidecar_project.settings import *  # noqa: F403 - Django's own way to derive settings

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
