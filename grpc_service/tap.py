"""Listens to the reads that are served, and costs nothing while it does not."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from entitlements.service.recorder import Offer
from grpc_service.methods import Begin, UnaryMethod, observed
from grpc_service.reads import READS


@contextmanager
def tapped(methods: Sequence[UnaryMethod], offer: Offer) -> Iterator[None]:
    """While entered, every read that one of these methods answers is offered.

    The methods are served meanwhile: engines and doors look up how a method answers at each call, so that the
    calls that begin within are offered, whoever carries them.
    """
    with ExitStack() as stack:
        for method in methods:
            name = method.path.rpartition("/")[2]
            if name in READS:
                stack.callback(setattr, method, "begin", method.begin)
                method.begin = _offering(method.begin, name, offer)
        yield


def _offering(begin: Begin, name: str, offer: Offer) -> Begin:
    return observed(begin, lambda request, reply: offer(name, request, reply[0]))
