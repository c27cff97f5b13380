"""Whether a Redis keeps what it was given over a restart and a full memory, as far as it says so."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Durability:
    """What is known; None is what it may not be asked."""

    appendonly: bool | None = None
    """True where each write goes to a file (`appendonly yes`)."""
    saves: bool | None = None
    """True where all is written to a file now and then (`save`)."""
    maxmemory_policy: str | None = None
    """What gives way when its memory is full."""

    @property
    def sentences(self) -> list[str]:
        """What is lost of an outbox there, and when."""
        sentences = []
        if self.appendonly is False and self.saves is False:
            sentences.append(
                "a restart of it loses all that waits in the outbox: appendonly is no, and save is empty"
            )
        elif self.appendonly is False:
            sentences.append(
                "a crash of it loses what came to the outbox since it last saved: appendonly is no"
            )
        if self.maxmemory_policy is not None and self.maxmemory_policy.startswith("allkeys-"):
            sentences.append(
                f"once its memory is full it evicts the outbox: maxmemory-policy is {self.maxmemory_policy}, "
                "where noeviction or volatile-lru would spare it"
            )
        return sentences


def durability_of(persistence: Any, memory: Any, save: Any) -> Durability:
    """From what it answers to INFO and CONFIG GET; an ACL, or who runs it, may forbid each."""
    appendonly = _field(persistence, "aof_enabled")
    policy = _field(memory, "maxmemory_policy")
    schedule = _field(save, "save")
    return Durability(
        appendonly=None if appendonly is None else bool(appendonly),
        saves=None if schedule is None else schedule not in {"", b""},
        maxmemory_policy=policy if isinstance(policy, str) else None,
    )


def _field(answer: Any, name: str) -> Any:
    return answer.get(name) if isinstance(answer, dict) else None
