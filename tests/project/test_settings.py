"""Django's settings, made from the environment."""

import stat
import subprocess
import sys
from pathlib import Path

from tests.harness import ROOT, environment_for

PRINT = """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "sidecar_project.settings"
from django.conf import settings
print({})
"""


def printed(expression: str, folder: Path, **variables: str) -> str:
    return subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", PRINT.format(expression)],
        env=environment_for(None, folder, OFFLINE="1", **variables),
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


def test_the_secret_key_is_made_once_and_kept_private(tmp_path: Path) -> None:
    first, second = (printed("settings.SECRET_KEY", tmp_path) for _ in range(2))

    file = tmp_path / "secret-key"
    assert first == second == file.read_text()
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    assert len(first) >= 50
    assert ["secret-key"] == [each.name for each in tmp_path.iterdir()]


def test_two_folders_have_two_keys(tmp_path: Path) -> None:
    keys = {printed("settings.SECRET_KEY", tmp_path / name) for name in ("a", "b")}

    assert len(keys) == 2


def test_redis_is_there_when_its_prefix_is(tmp_path: Path) -> None:
    expression = "sorted(settings.CACHES), sorted(settings.CHANNEL_LAYERS)"

    without = printed(expression, tmp_path)
    with_prefix = printed(expression, tmp_path, REDIS_ENVIRONMENT_PREFIX="p")

    assert "['default'] ['default']" == without
    assert "['default', 'redis'] ['default', 'shared']" == with_prefix


def test_debug_is_off_and_cookies_are_secure(tmp_path: Path) -> None:
    assert "False True True" == printed(
        "settings.DEBUG, settings.SESSION_COOKIE_SECURE, settings.CSRF_COOKIE_SECURE", tmp_path
    )
