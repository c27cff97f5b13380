"""Both ways in which a method answers, as one `begin`."""

from collections.abc import Callable
from functools import partial

from grpc_service.methods import Answer, Begin, Later, Reply


def either(answer_now: Callable[[bytes], Reply | None], answer: Answer) -> Begin:
    """Answers at once what can be, and the rest on the loop."""

    def begin(request: bytes) -> Reply | Later:
        return answer_now(request) or Later(answer=partial(answer, request))

    return begin
