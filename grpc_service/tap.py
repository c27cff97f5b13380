"""Listens to the reads that are served, and costs nothing while it does not."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from entitlements.service.recorder import Offer
from grpc_service.methods import Call, Reply, UnaryMethod
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
                stack.callback(_put_back, method, replace(method))
                _put_back(method, _offering(method, name, offer))
        yield


def _put_back(method: UnaryMethod, ways: UnaryMethod) -> None:
    method.answer, method.answer_now = ways.answer, ways.answer_now


def _offering(method: UnaryMethod, name: str, offer: Offer) -> UnaryMethod:
    at_once, later = method.answer_now, method.answer

    def answer_now(request: bytes) -> Reply | None:
        reply = at_once(request)
        if reply is not None:
            offer(name, request, reply[0])
        return reply

    async def answer(request: bytes, call: Call) -> Reply:
        reply = await later(request, call)
        offer(name, request, reply[0])
        return reply

    return replace(method, answer=answer, answer_now=answer_now)
