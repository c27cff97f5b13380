"""Where a storm blows: what the sidecars run on, how they are set, and who else is there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.lanes import Certificates, Doors, Keys, Lane, Overrides, Shadow
from tests.chaos.stores import Cluster, OneServer, Sentinels, Store
from tests.chaos.writers import OfficialWriter, OldWriter

MANY_WORKERS = "many workers"
"""What a fault may need of a world: a worker that another one is beside."""
SMALL_BUDGET = 600
"""Requests to the Edge a minute. Of half as many, re-checks by four processes use a third (seed 9)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One deployment of two instances."""

    redis: type[OneServer] | type[Sentinels] | type[Cluster] = OneServer
    workers: int = 2
    """Processes of an instance."""
    variables: Mapping[str, str] = field(default_factory=dict)
    lanes: Sequence[type[Lane]] = ()
    """What goes on besides reads, writes and changes."""

    @property
    def offers(self) -> frozenset[str]:
        """What faults may need."""
        return self.redis.offers | ({MANY_WORKERS} if self.workers > 1 else frozenset())

    def store(self, folder: Path, port: int) -> Store:
        """Its Redis, not yet running."""
        return self.redis(folder, port)


WORLDS: Mapping[str, World] = {
    "workers": World(),
    "plain": World(workers=1),
    "sentinel": World(redis=Sentinels),
    "cluster": World(redis=Cluster),
    "many": World(workers=10),
    "overrides": World(
        variables={"SIDECAR_OVERRIDES": "1", "SIDECAR_SHADOW_SAMPLE": "0.3"}, lanes=(Overrides, Shadow)
    ),
    "doors": World(lanes=(Doors,)),
    "official": World(lanes=(OfficialWriter,)),
    "old form": World(lanes=(OldWriter,)),
    "budget": World(
        variables={
            "SIDECAR_EDGE_REQUESTS_PER_MINUTE": str(SMALL_BUDGET),
            "SIDECAR_FLEET_SIZE": "4",
        }
    ),
    "keys": World(lanes=(Keys,)),
    "certificates": World(lanes=(Certificates,)),
}


def world_of(seed: int) -> str:
    """The world that a seed chooses."""
    names = list(WORLDS)
    return names[seed % len(names)]
