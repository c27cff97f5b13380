"""Who did that? Every change by a page or a command, in one trail."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from emulator.server import Emulator
from tests.admin.test_access import ADD_VIEWER, Session, in_shell
from tests.admin.visitor import PASSWORD, QUICK_LOGINS, USERNAME
from tests.harness import SidecarProcess, environment_for
from tests.management.command_runs import run

pytestmark = pytest.mark.timeout(120)
SECRET = "a very long made-up word"
TRAIL = "/admin/entitlements/auditentry/"
FILTERS = {
    "kind=override&by=on-call&within=1h": True,
    "kind=fallback": False,
    "by=viewer": False,
    "within=7d": True,
    "within=junk": True,
}
"""Whether an override of on-call, of a moment ago, is among what each shows."""


async def _everything_is_changed(owner: Session) -> None:
    """One change of each kind, by pages."""
    rule = {"feature_id": "m", "is_active": "on", "is_unlimited": "unknown", "has_soft_limit": "unknown"}
    await owner.post("/admin/entitlements/fallbackrule/add/", **rule)
    await owner.post("/admin/entitlements/fallbackrule/1/change/", **rule, has_access="on", usage_limit="5")
    await owner.post("/admin/entitlements/fallbackrule/1/delete/", post="yes")
    user = {"username": "new", "password1": SECRET, "password2": SECRET, "usable_password": "true"}
    await owner.post("/admin/auth/user/add/", **user)
    await owner.get("/admin/explain/?customer=c&feature=m")
    await owner.post("/admin/entitlements/cachedcustomer/act/", act="evict", key="1:c", sure="1")
    again = {"password1": f"{SECRET} 2", "password2": f"{SECRET} 2", "usable_password": "true"}
    await owner.post("/admin/auth/user/3/password/", **again, **{"set-password": "1"})
    override = {"act": "deny", "customer": "c", "feature": "m", "reason": "abuse", "lasts": "1h"}
    await owner.post("/admin/overrides/", **override)


async def _own_password_is_changed(viewer: Session) -> None:
    """By the form for that; the first time in vain."""
    own = {"old_password": PASSWORD, "new_password1": SECRET, "new_password2": SECRET}
    await viewer.post("/admin/password_change/", **(own | {"old_password": "wrong"}))
    await viewer.post("/admin/password_change/", **own)


async def test_changes_by_pages_and_commands_are_audited(
    sidecar: SidecarProcess, emulator: Emulator, tmp_path: Path
) -> None:
    """With before and after; filtered by pages and a command; a viewer sees them and can change none."""
    await in_shell(emulator, tmp_path, ADD_VIEWER)
    owner, viewer = Session(sidecar), Session(sidecar)
    await owner.log_in(USERNAME)
    await viewer.log_in("viewer")
    await _everything_is_changed(owner)
    await _own_password_is_changed(viewer)
    environment = environment_for(emulator, tmp_path, SIDECAR_OVERRIDES="1", **QUICK_LOGINS)
    assert 0 == (await run(environment, "override", "grant", "c", "m", "--reason", "a repair")).code
    listed = (await run(environment, "audit", "--json")).as_json

    _are_all_changes(listed)
    await _are_logged(sidecar, listed)
    await _are_filtered(environment)
    await _are_shown(owner, viewer)
    assert SECRET not in json.dumps(listed) + sidecar.output
    assert "pbkdf2" not in sidecar.output


def _are_all_changes(listed: list[dict[str, Any]]) -> None:
    assert [
        "fallback.add",
        "fallback.change",
        "fallback.delete",
        "user.add",
        "cache.evicted",
        "user.password",
        "override.deny",
        "user.password",
        "override.grant",
    ] == [each["act"] for each in listed]
    assert [*[USERNAME] * 7, "viewer"] == [each["who"] for each in listed[:8]]
    assert ["new", "viewer"] == [each["subject"] for each in listed if each["act"] == "user.password"]
    assert {"127.0.0.1"} == {each["whence"] for each in listed[:8]}
    assert {"has_access": False, "usage_limit": None} == listed[1]["before"]
    assert {"has_access": True, "usage_limit": 5.0} == listed[1]["after"]
    assert "a repair" == listed[-1]["reason"]
    assert "command line" in listed[-1]["who"]


async def _are_logged(sidecar: SidecarProcess, listed: list[dict[str, Any]]) -> None:
    """The same, by the sidecar, also what a command did."""
    await sidecar.printed("override.grant")
    lines = [json.loads(each) for each in sidecar.output.splitlines() if '"msg": "audit"' in each]
    assert [(each["act"], each["who"]) for each in listed] == [(each["act"], each["who"]) for each in lines]
    assert "a repair" == lines[-1]["reason"]


async def _are_filtered(environment: Mapping[str, str]) -> None:
    """By kind and person, and by time."""
    chosen = await run(environment, "audit", "--json", "--act", "override", "--who", USERNAME)
    earlier = await run(environment, "audit", "--json", "--since", "1d", "--until", "2001-01-01")
    assert [("override.deny", "c / m", "abuse")] == [
        (each["act"], each["subject"], each["reason"]) for each in chosen.as_json
    ]
    assert [] == earlier.as_json


async def _are_shown(owner: Session, viewer: Session) -> None:
    """To who may look; and the history of an object leads there."""
    page = await viewer.get(TRAIL)
    assert 200 == page.status_code
    assert "override.deny" in page.text
    assert "pbkdf2" not in page.text
    assert FILTERS == {asked: "abuse" in (await viewer.get(f"{TRAIL}?{asked}")).text for asked in FILTERS}
    assert 403 == (await viewer.post(f"{TRAIL}1/delete/", post="yes")).status_code
    assert "q=new" in (await owner.get("/admin/auth/user/3/history/")).headers["location"]
