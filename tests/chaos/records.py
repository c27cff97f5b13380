"""What a run leaves behind for the judge. All times are monotonic seconds of the machine's own process."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

from tests.chaos.waiting import Waits

KILLS = frozenset({"sidecar killed", "worker killed", "sidecar paused", "worker paused", "leader paused"})
"""Faults under which an instance cannot be expected to answer; rolling is not one of them."""


def now() -> float:
    """The only clock of records."""
    return time.monotonic()


@dataclass(slots=True, kw_only=True)
class Version:
    """One state of a customer in the cloud."""

    number: int
    """Shown by every feature of the customer, unlike that of any other customer."""
    sent_at: float
    """The cloud did not have it before."""
    announced_at: float = inf
    """The cloud had it from then on, at the latest."""
    updated_at_ms: int = 0
    """As the cloud dates it."""


class Truth:
    """What the cloud says of every customer, at every moment."""

    def __init__(self) -> None:
        self._versions: dict[str, list[Version]] = {}

    def add(self, customer_id: str, number: int, *, at: float, updated_at_ms: int = 0) -> Version:
        """Note a version that is being sent; its `told_at` is set once the cloud has it."""
        version = Version(number=number, sent_at=at, updated_at_ms=updated_at_ms)
        self._versions.setdefault(customer_id, []).append(version)
        return version

    def customers(self) -> Sequence[str]:
        """All who were ever known."""
        return list(self._versions)

    def versions(self, customer_id: str) -> Sequence[Version]:
        """The customer's versions, oldest first."""
        return self._versions.get(customer_id, [])

    def current(self, customer_id: str) -> int:
        """The newest version's number."""
        return self._versions[customer_id][-1].number


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One read that was answered."""

    customer_id: str
    method: str
    line: str
    """The connection it came by, as `a/0`: instance and number."""
    epoch: int
    """How many times the connection had been lost before; -1: it was lost meanwhile."""
    started: float
    ended: float
    is_fallback: bool
    source: str
    """`stigg-source`."""
    state: str
    """`stigg-state`; empty for a fallback."""
    number: int | None = None
    """The version that the answer shows; None where it shows less."""
    is_granted: bool | None = None
    """What a Boolean check said: true for even versions."""
    is_mixed: bool = False
    """The features of one list showed different versions."""
    tries: int = 1
    """How many instances were asked."""

    @property
    def instance(self) -> str:
        """The instance that answered."""
        return self.line.partition("/")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedTry:
    """A call that one instance did not answer."""

    line: str
    method: str
    started: float
    ended: float
    status: str

    @property
    def instance(self) -> str:
        """The instance that was asked."""
        return self.line.partition("/")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedRead:
    """A read that no instance answered."""

    customer_id: str
    method: str
    started: float
    ended: float
    tries: Sequence[FailedTry] = ()
    """What became of them, as far as they are known one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """A process that ended and had not been killed, or did not drain."""

    words: str
    """Its last ones."""
    began: float = -inf
    """When it was asked to end."""
    ended: float = inf
    ran_out_of_time: bool = False
    """It ended itself, or its parent did, since it had not drained within its time."""


@dataclass(slots=True, kw_only=True)
class Write:
    """An event or a usage report that was sent once."""

    identity: str
    """`e:` and the event's idempotency key, or `u:` and the report's value, unlike all others."""
    started: float
    ended: float = inf
    status: str = ""
    """The gRPC status; `OK` is a promise."""
    is_given_up: bool = False
    """It waited in a Redis that was emptied: nobody can keep that promise."""


@dataclass(slots=True, kw_only=True)
class Grant:
    """An override that grants, for a bounded time."""

    began: float
    """The person had not asked before."""
    ends_by: float = inf
    """In force no longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverrideSeen:
    """What an instance said of the customer whom the cloud denies."""

    instance: str
    started: float
    ended: float
    is_granted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request that the cloud received."""

    at: float
    kind: str
    """`edge`, `edge:…`, `graphql:<operation>`, `ws:…`"""


@dataclass(slots=True, kw_only=True)
class Happened:
    """A fault from its beginning until all is fixed that it broke by itself."""

    fault: str
    family: str
    targets: Sequence[str]
    """The instances that feel it."""
    began: float
    ended: float = inf
    aftermath_seconds: float = 0.0
    """After its end a client may still notice it for so long."""
    breaks_feed: bool = True
    """Changes may be reported late or not at all; false where it touches only what is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What all sidecars together use."""

    at: float
    processes: int
    rss_bytes: int
    largest_rss_bytes: int
    fds: int
    threads: int
    client_sockets: int
    """Listeners and connections of callers."""
    peer_sockets: int
    """Both ends of what one instance asks another."""
    cloud_sockets: int
    redis_sockets: int


@dataclass(slots=True, kw_only=True)
class Run:
    """All that happened in one run."""

    seed: int
    began: float
    world: str = ""
    truth: Truth = field(default_factory=Truth)
    answers: list[Answer] = field(default_factory=list)
    failed_tries: list[FailedTry] = field(default_factory=list)
    failed_reads: list[FailedRead] = field(default_factory=list)
    writes: dict[str, Write] = field(default_factory=dict)
    happened: list[Happened] = field(default_factory=list)
    resources: list[Resources] = field(default_factory=list)
    tasks: tuple[float, float] = (0, 0)
    """On the event loops of all workers, at the start and in the end."""
    counted: dict[str, int] = field(default_factory=dict)
    """The cloud's ledger: how often each write's identity was counted."""
    beside: dict[str, tuple[str, Counter[str]]] = field(default_factory=dict)
    """By client beside the storm: whom it called, and how its calls ended."""
    crowd: Counter[str] = field(default_factory=Counter)
    """How the calls of a crowd ended."""
    grants: list[Grant] = field(default_factory=list)
    overrides_seen: list[OverrideSeen] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    """All that the cloud was asked in the run."""
    edge_per_minute: float = inf
    """The bound of requests to the Edge in any minute."""
    redirected: int = 0
    """How often the sidecars followed a redirection to where the cloud is not."""
    usage: dict[str, tuple[float, float]] = field(default_factory=dict)
    """By metered customer: the usage that was answered in the end, and the cloud's own."""
    starved_seconds: float = 0.0
    """The client's own timer was late by so much at worst: the computer had no time for it."""
    waits: Waits = field(default_factory=Waits)
    """How long the processes of the storm waited for a processor, from its beginning until all had healed."""
    load: float = 0.0
    """Of the whole computer, as it stood at the end: how many waited for each processor."""
    deaths: list[Death] = field(default_factory=list)
    heal_seconds: float | None = None
    """From the end of the last fault until everything was right again; None: it never was."""
    unhealed: str = ""
    """What was still wrong when waiting ended."""
    ended: float = inf
