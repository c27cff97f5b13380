"""A network of its own for one instance, where the computer allows it: packets can be dropped there."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

NAME = "weather"
PROBABILITY = "0.3"
"""Of each packet's loss, each way; TCP waits 0.2 s and more before it sends one again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """A network of its own, joined to the host's by one cable."""

    name: str
    host_address: str
    """Where those inside find the host."""
    address: str
    """Where the host finds those inside."""

    @property
    def prefix(self) -> Sequence[str]:
        """Before a command that is to run inside."""
        return ("ip", "netns", "exec", self.name)

    @contextlib.contextmanager
    def dropping(self, ports: Sequence[int]) -> Iterator[None]:
        """Packets from and to these ports of the host are lost at random, all others arrive."""
        listed = ",".join(map(str, ports))
        chance = ("-m", "statistic", "--mode", "random", "--probability", PROBABILITY, "-j", "DROP")
        for chain, side in (("OUTPUT", "--dports"), ("INPUT", "--sports")):
            _run(*self.prefix, "iptables", "-A", chain, "-p", "tcp", "-m", "multiport", side, listed, *chance)
        try:
            yield
        finally:
            _run(*self.prefix, "iptables", "-F")


@contextlib.contextmanager
def a_namespace() -> Iterator[Namespace | str]:
    """A namespace that lives while entered, or in a few words why there is none."""
    missing = [tool for tool in ("ip", "iptables") if shutil.which(tool) is None]
    if missing or os.geteuid() != 0:
        yield "a network namespace needs root, ip and iptables"
        return
    number = os.getpid() % 250 + 1
    name, cable = f"{NAME}-{os.getpid()}", f"wx{os.getpid()}"
    space = Namespace(name=name, host_address=f"10.213.{number}.1", address=f"10.213.{number}.2")
    try:
        _lay_cable(space, cable)
    except subprocess.CalledProcessError as error:
        _run("ip", "netns", "del", name, check=False)
        yield f"a network namespace cannot be made here: {error.stderr.decode().strip()}"
        return
    try:
        yield space
    finally:
        _run("ip", "netns", "del", name, check=False)  # the cable goes with its other end


def _lay_cable(space: Namespace, cable: str) -> None:
    inside = f"{cable}i"
    _run("ip", "netns", "add", space.name)
    _run("ip", "link", "add", cable, "type", "veth", "peer", "name", inside, "netns", space.name)
    _run("ip", "address", "add", f"{space.host_address}/30", "dev", cable)
    _run("ip", "link", "set", cable, "up")
    _run("ip", "-n", space.name, "link", "set", "lo", "up")
    _run("ip", "-n", space.name, "address", "add", f"{space.address}/30", "dev", inside)
    _run("ip", "-n", space.name, "link", "set", inside, "up")
    with space.dropping([9]):  # shows that it can
        pass


def _run(*command: str, check: bool = True) -> None:
    subprocess.run(command, check=check, capture_output=True)  # noqa: S603
