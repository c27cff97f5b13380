"""Asks two sidecars the same about many customers, and reports where their answers differ."""

import asyncio
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from entitlements.domain.entity import EntityKey
from entitlements.management.asking import answers
from entitlements.management.printing import EXIT_NO, EXIT_NOT_ASKED, Printer
from grpc_service.client import SidecarClient
from grpc_service.comparison import OK, Outcome, parsed
from grpc_service.management.comparing import (
    Answers,
    Comparison,
    Question,
    add_options,
    asks,
    both_answer,
    for_each,
    report,
)
from grpc_service.management.customers import keys_of
from grpc_service.management.pacing import progress, rate_of
from grpc_service.reads import READS

_WHOLE = "GetEntitlementsStateV2"
_TYPED = {
    "boolean": "GetBooleanEntitlement",
    "numeric": "GetNumericEntitlement",
    "metered": "GetMeteredEntitlement",
    "enum": "GetEnumEntitlement",
}


class Command(BaseCommand):
    """`manage.py compare --with HOST:PORT [FILE]`."""

    help = (
        "Asks two sidecars for all entitlements of many customers and compares the answers field by field; "
        "what differs is asked again, so that a change that one saw earlier is not taken for a difference "
        f"that stays. Exits with 0 when nothing stays different, {EXIT_NO} when something does, "
        f"{EXIT_NOT_ASKED} when not all could be asked."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Names the two, the customers and the pace."""
        parser.add_argument(
            "file",
            nargs="?",
            help="one customer's id a line, or that, a tab and a resource's; `-`: standard input; left out: "
            "whom the sidecar of this SIDECAR_DATA_DIR holds",
        )
        parser.add_argument("--with", dest="other", required=True, help="host:port of the other sidecar")
        parser.add_argument("--address", help="host:port of ours (default: as for `ask`)")
        parser.add_argument(
            "--every-method",
            action="store_true",
            help="ask for each entitlement by each method that fits it as well, not for the whole list alone",
        )
        add_options(parser, rate="number of questions a second to each, at the most")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Compares, prints the outcome, and exits with it."""
        sys.exit(asyncio.run(self.run(options)))

    async def run(self, options: dict[str, Any]) -> int:
        """The same, and returns the exit code."""
        rate = rate_of(options)
        questions = [_question(_WHOLE, key) for key in self._customers(options["file"])]
        if not questions:
            raise CommandError("there is no customer to ask about", returncode=EXIT_NOT_ASKED)
        began = time.perf_counter()
        comparison = await self._compared(questions, options, rate=rate)
        if comparison.has_enough:
            self.stderr.write("so much differs that the rest was not asked: are both of one environment?")
        return report(
            comparison,
            {"customers": len(questions), "seconds": round(time.perf_counter() - began, 1)},
            printer=Printer.of(self.stdout, as_json=options["json"]),
            as_json=options["json"],
        )

    def _customers(self, file: str | None) -> list[EntityKey]:
        if file is None:
            lines = answers({"act": "customers"})
            return [EntityKey(each["customer_id"], each["resource_id"]) for each in lines]
        try:
            return list(keys_of(file))
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            message = f"{file} cannot be used ({reason})"
            raise CommandError(message, returncode=EXIT_NOT_ASKED) from error

    async def _compared(
        self, questions: list[Question], options: dict[str, Any], *, rate: float
    ) -> Comparison:
        address = options["address"] or settings.SIDECAR_ASK_ADDRESS
        async with (
            SidecarClient(address) as ours,
            SidecarClient(options["other"]) as theirs,
        ):
            comparison = Comparison(ask_ours=asks(ours), ask_theirs=asks(theirs), rate=rate)
            await both_answer({address: asks(ours), options["other"]: asks(theirs)}, questions[0])
            wider: list[Question] = []

            async def ask(question: Question) -> None:
                if comparison.has_enough:
                    return
                both = await comparison.ask(question)
                if options["every_method"] and question.method == _WHOLE:
                    wider.extend(_by_every_method(question, both))

            for activity, asked in (("comparing customers", questions), ("comparing every method", wider)):
                if asked:
                    with progress(activity, total=len(asked), rate=rate, write=self.stderr.write) as advance:
                        await for_each(asked, ask, rate=rate, advance=advance)
            await comparison.ask_again()
        return comparison


def _question(method: str, key: EntityKey, **asked: str) -> Question:
    request = READS[method].request(customer_id=key.customer_id, resource_id=key.resource_id, **asked)
    return Question(method, request.SerializeToString(), key.customer_id, key.resource_id or "")


def _by_every_method(question: Question, both: Answers) -> Iterator[Question]:
    """The list in its older form, and each entitlement that either listed, by each method that fits it."""
    key = EntityKey(question.customer, question.resource or None)
    yield _question("GetEntitlements", key)
    for arm, id_ in dict.fromkeys(each for outcome in both for each in _listed(outcome)):
        if arm == "credit":
            yield _question("GetEntitlementV2", key, currency_id=id_)
            continue
        for method in ("GetEntitlementV2", "GetEntitlement", _TYPED[arm]):
            yield _question(method, key, feature_id=id_)


def _listed(outcome: Outcome) -> Iterable[tuple[str, str]]:
    reply = parsed(_WHOLE, outcome.message) if outcome.status == OK else None
    for each in () if reply is None else reply.entitlements:
        arm = each.WhichOneof("entitlement")
        if arm is not None:
            entitlement = getattr(each, arm)
            yield arm, entitlement.currency.currency_id if arm == "credit" else entitlement.feature.id
