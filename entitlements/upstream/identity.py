"""Who asks the cloud: the key and the names beside it, as headers (contract/upstream.md)."""

from collections.abc import Mapping


class Identity:
    """The headers of every request; the key among them may be replaced while requests are under way."""

    def __init__(self, api_key: str, *, instance_id: str, user_agent: str) -> None:
        self._unchanging = {"X-SDK-INSTANCE-ID": instance_id, "User-Agent": user_agent}
        self.headers: Mapping[str, str] = {}
        """Replaced whole: who reads them sees one key or the next."""
        self.take_key(api_key)

    def take_key(self, api_key: str) -> None:
        """Asks by this key from now on."""
        self.headers = {"X-API-KEY": api_key, **self._unchanging}

    def with_key(self, api_key: str) -> "Identity":
        """The same asker with another key."""
        return Identity(
            api_key,
            instance_id=self._unchanging["X-SDK-INSTANCE-ID"],
            user_agent=self._unchanging["User-Agent"],
        )
