"""Django's settings for tests: a made-up account, nothing of the machine's."""

import os
import tempfile

for _name in [name for name in os.environ if name.startswith(("SIDECAR_", "REDIS_", "TLS_"))]:
    del os.environ[_name]
os.environ |= {
    "SERVER_API_KEY": "made-up-key",
    "API_URL": "http://127.0.0.1:9",
    "SIDECAR_DATA_DIR": tempfile.mkdtemp(prefix="sidecar-tests-"),
}

from sidecar_project.settings import *  # noqa: E402, F403 - Django's own way to derive settings
