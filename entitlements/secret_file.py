"""Secrets that stand in files (`NAME_FILE`), and the list of what no log line may show."""

from pathlib import Path

MASK = "********"
"""What is shown instead of a secret."""
MAX_SECRET_FILE_BYTES = 65_536
"""A larger file is no secret."""
MAX_KNOWN = 100
"""So many secrets are struck out of lines; a file that is rotated more often displaces the oldest."""


class UnusableSecretFile(Exception):
    """There is no secret in the file; the text says why, and nothing of its content."""


class KnownSecrets:
    """What is struck out of every line: each secret that this process ever read."""

    def __init__(self) -> None:
        self.longest_first: tuple[str, ...] = ()
        """So that one which holds another is struck out whole."""
        self._by_age: dict[str, None] = {}

    def add(self, secret: str) -> None:
        """Has it struck out from now on."""
        if not secret:
            return
        self._by_age.pop(secret, None)
        self._by_age[secret] = None
        if len(self._by_age) > MAX_KNOWN:
            del self._by_age[next(iter(self._by_age))]
        self.longest_first = tuple(sorted(self._by_age, key=len, reverse=True))


KNOWN_SECRETS = KnownSecrets()


def read_secret(file: Path) -> str:
    """The secret in a file, without the line's end behind it.

    Raises:
        UnusableSecretFile: it cannot be read, or holds none.
    """
    try:
        with file.open("rb") as opened:
            secret = opened.read(MAX_SECRET_FILE_BYTES + 1).decode().rstrip("\r\n")
    except OSError as error:
        reason = f"which cannot be read ({error.strerror or 'it is no file'})"
        raise UnusableSecretFile(reason) from error
    except ValueError as error:
        raise UnusableSecretFile("which cannot be read (it is not text)") from error
    if not secret or len(secret) > MAX_SECRET_FILE_BYTES:
        raise UnusableSecretFile("which is empty or too large")
    return secret
