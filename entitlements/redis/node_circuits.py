"""Which nodes answer: a breaker and an outage in the log for each. Where Redis is one node there is one."""

import logging

from entitlements.domain.breaker import Breaker, BreakerState
from entitlements.domain.ports import Clock
from entitlements.redis.nodes import WHOLE
from entitlements.redis.outage_log import OutageLog

logger = logging.getLogger(__name__)


class NodeCircuit:
    """What is known of one node."""

    def __init__(self, name: str, clock: Clock) -> None:
        self.breaker = Breaker()
        which = "" if name == WHOLE else f" node={name}"
        self.outage = OutageLog(
            logger,
            down=f"redis does not answer; memory and the cloud do{which}",
            up=f"redis answers again{which}",
            monotonic=clock.monotonic,
        )

    @property
    def is_silent(self) -> bool:
        """True while it is not asked because it did not answer."""
        return self.breaker.state is not BreakerState.CLOSED


class NodeCircuits:
    """Those of all nodes that were asked; bounded by their number, since what is replaced is forgotten."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._circuits: dict[str, NodeCircuit] = {}

    def of(self, name: str) -> NodeCircuit:
        """One node's."""
        circuit = self._circuits.get(name)
        if circuit is None:
            circuit = self._circuits[name] = NodeCircuit(name, self._clock)
        return circuit

    @property
    def silent(self) -> set[str]:
        """The nodes that are not asked because they did not answer."""
        return {name for name, circuit in self._circuits.items() if circuit.is_silent}

    def forget_replaced(self, names: frozenset[str]) -> None:
        """Another has the keys of a silent node by now; `names` are those that have keys."""
        for name in self.silent - names:
            self._circuits.pop(name).outage.succeeded()
