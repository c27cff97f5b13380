"""What Redis is shown by every new connection; it may be replaced while connections are open."""

from typing import Any

from redis.credentials import CredentialProvider


class Credentials(CredentialProvider):
    """A user's name and password; connections that are open stay as they are."""

    def __init__(self, username: str | None = None, password: str | None = None) -> None:
        self._shown = (username, password)

    def __repr__(self) -> str:
        return "Credentials(…)"

    @property
    def username(self) -> str | None:
        """None: Redis' default user."""
        return self._shown[0]

    @property
    def password(self) -> str | None:
        """None: Redis asks for none."""
        return self._shown[1]

    def take(self, username: str | None, password: str | None) -> None:
        """Has these shown from now on; both at once, as connections are dialled on several threads."""
        self._shown = (username, password)

    @property
    def options(self) -> dict[str, Any]:
        """As redis-py's clients take them; nothing where Redis asks for nothing."""
        return {"credential_provider": self} if any(self._shown) else {}

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """See redis-py."""
        username, password = self._shown
        return (username, password or "") if username else (password or "",)
