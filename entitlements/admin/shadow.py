"""What another sidecar answers otherwise: both answers side by side, field by field."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django.http import HttpRequest, HttpResponse

from entitlements.admin.site import site
from entitlements.composition import sidecar
from entitlements.domain.difference import Constancy
from entitlements.service.shadow_ledger import Finding

_NOT_SET = "(not set)"
_NOT_REPORTED = "not reported"
_MEANINGS = {
    Constancy.LASTING: "stays different",
    Constancy.TRANSIENT: "agreed when asked again",
    Constancy.UNDECIDED: "moves faster than it is asked",
}


@site.page("shadow/", name="shadow", permission="entitlements.view_cachedcustomer")
def shadow(request: HttpRequest) -> HttpResponse:
    """The last questions whose answers differed, what stays different first."""
    ledger = sidecar().shadow
    context: dict[str, Any] = {"title": "Shadow"}
    if ledger is None:
        return site.render(request, "entitlements/shadow.html", context | {"is_off": True})
    counts = {name: f"{count:,}" for name, count in ledger.counts.items()}
    return site.render(
        request,
        "entitlements/shadow.html",
        context
        | {
            "ledger": ledger,
            "counts": counts,
            "sample": f"{sidecar().config.sidecar_shadow_sample:.0%}",
            "lasting": _rows(ledger.lasting),
            "others": _rows(ledger.others),
            "are_hashed": not sidecar().config.sidecar_shadow_ids,
        },
    )


def _rows(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    return [
        {
            "found_at": datetime.fromtimestamp(each.found_at_ms / 1000, UTC),
            "times": each.times,
            "read": each.read,
            "our_knowledge": each.read.our_knowledge or _NOT_REPORTED,
            "their_knowledge": each.read.their_knowledge or _NOT_REPORTED,
            "differences": [
                {
                    "field": difference.field,
                    "element": difference.element,
                    "ours": _NOT_SET if difference.ours is None else difference.ours,
                    "theirs": _NOT_SET if difference.theirs is None else difference.theirs,
                    "meaning": _MEANINGS[constancy],
                }
                for difference, constancy in each.read.differences.items()
            ],
        }
        for each in findings
    ]
