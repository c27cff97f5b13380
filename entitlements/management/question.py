"""The question of a command that is about one customer and one feature: the same words everywhere."""

import argparse
import math

from django.core.management.base import CommandParser


def add_question(parser: CommandParser) -> None:
    """Names whom and what is asked about."""
    parser.add_argument("customer", help="the customer's id")
    parser.add_argument("feature", help="the feature's id; with --currency, the currency's")
    parser.add_argument("--currency", action="store_true", help="ask for a balance of credits")
    parser.add_argument("--resource", help="the id of one of the customer's resources")
    parser.add_argument("--usage", type=finite, help="so much more is to be used")


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
