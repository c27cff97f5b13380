"""The question of a command that is about one customer and one feature: the same options everywhere."""

import argparse
import math
from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from entitlements.domain.decision import Query
from entitlements.service.question import Question


def add_question(parser: CommandParser) -> None:
    """Names whom and what is asked about."""
    parser.add_argument("customer", help="the customer's id")
    parser.add_argument("feature", help="the feature's id; with --currency, the currency's")
    parser.add_argument("--currency", action="store_true", help="ask for a balance of credits")
    parser.add_argument("--resource", help="the id of one of the customer's resources")
    parser.add_argument("--usage", type=finite, help="how much more is to be used")
    parser.add_argument(
        "--value",
        "--values",
        dest="values",
        action="append",
        default=[],
        help="a value to be used; may be repeated",
    )


def query_from_options(options: Mapping[str, Any]) -> Query:
    """The query that these arguments name."""
    is_currency = options["currency"]
    return Question(
        customer=options["customer"],
        resource=options["resource"],
        feature=None if is_currency else options["feature"],
        currency=options["feature"] if is_currency else None,
        usage=options["usage"],
        values=options["values"],
        kind=options.get("kind"),
        fallback=options.get("fallback"),
    ).query()


def finite(text: str) -> float:
    """The number that this text is.

    Raises:
        ValueError: it is none.
        argparse.ArgumentTypeError: it is infinite, or not a number.
    """
    number = float(text)
    if not math.isfinite(number):
        message = "it must be a finite number"
        raise argparse.ArgumentTypeError(message)
    return number
