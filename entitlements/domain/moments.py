"""Instants: epoch milliseconds everywhere, a `datetime` for the calendar, ISO 8601 for others' JSON."""

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
EARLIEST_MS = -62_135_596_800_000
"""The start of the year 1 (epoch milliseconds)."""
LATEST_MS = 253_402_300_799_999
"""The end of the year 9999 (epoch milliseconds): the last moment that ISO 8601 and protobuf can name."""


def moment_from_ms(epoch_ms: int) -> datetime:
    """The moment in UTC.

    Raises:
        OverflowError: it lies outside the years 1 to 9999.
    """
    return EPOCH + timedelta(milliseconds=epoch_ms)


def ms_from_moment(moment: datetime) -> int:
    """Epoch milliseconds, rounded down."""
    return (moment - EPOCH) // MILLISECOND


def iso_from_ms(epoch_ms: int) -> str:
    """As the cloud writes it: `2026-03-01T12:00:00.000Z`; raises as `moment_from_ms`."""
    return moment_from_ms(epoch_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ms_from_iso(text: str) -> int | None:
    """Epoch milliseconds of an ISO 8601 text, in UTC where it names no zone; None when it is none."""
    try:
        moment = datetime.fromisoformat(text)
        return ms_from_moment(moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment)
    except (ValueError, OverflowError):
        return None
