"""The history of an entity as a JSON document, for pages and scripts."""

from collections.abc import Sequence
from typing import Any

from entitlements.domain.entity_history import HistoryEntry, Origin
from entitlements.domain.moments import moment_from_ms
from entitlements.service.figures import date_from_ms

_WHENCE = {
    Origin.FEED: "the cloud sent it",
    Origin.FETCH: "the cloud was asked",
    Origin.RELOAD: "it was refreshed by a person or a call",
    Origin.EVICT: "it was evicted by a person or a call",
    Origin.REPORT: "usage was reported here",
    Origin.AUDIT: "the drift audit repaired it",
    Origin.REDIS: "another process had shared it in Redis",
    Origin.SNAPSHOT: "it was known before the restart",
    Origin.IMPORT: "a command imported it",
    Origin.OVERRIDE: "an override began or ended",
}


def history_document(entries: Sequence[HistoryEntry]) -> list[dict[str, Any]]:
    """The entries, in their order; ids and values are data and not markup."""
    return [
        {
            "at": moment_from_ms(entry.last_ms).isoformat(),
            "when": date_from_ms(entry.last_ms, timespec="seconds"),
            "since": date_from_ms(entry.first_ms, timespec="seconds") if entry.times > 1 else None,
            "times": entry.times,
            "whence": entry.origin.value,
            "text": _WHENCE[entry.origin],
            "changes": [
                {"what": _what(each.element, each.field), "before": each.ours, "after": each.theirs}
                for each in entry.differences
            ],
            "omitted": entry.omitted,
        }
        for entry in entries
    ]


def _what(element: str, field: str) -> str:
    words = field.replace("_", " ")
    return f"{element}: {words}" if element else words
