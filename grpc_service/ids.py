"""Ids of customers and resources as they may be shown: hashed, unless an operator allows them in clear."""

import hashlib

DIGEST_BYTES = 8


def id_key(secret: str) -> bytes:
    """What ids are hashed with: the same in every process of one environment, and unknown to readers."""
    return hashlib.sha256(f"decision log {secret}".encode()).digest()


def shown_id(text: str, key: bytes | None) -> str:
    """The id hashed by this key; as it is without one."""
    if key is None:
        return text
    return hashlib.blake2b(text.encode(), key=key, digest_size=DIGEST_BYTES).hexdigest()
