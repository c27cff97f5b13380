"""Who did that? Every change by a page or a command, in one trail."""

import json
from pathlib import Path

import pytest

from emulator.server import Emulator
from tests.admin.test_access import ADD_VIEWER, Session, in_shell
from tests.admin.visitor import QUICK_LOGINS, USERNAME
from tests.harness import SidecarProcess, environment_for
from tests.management.command_runs import run

pytestmark = pytest.mark.timeout(120)
SECRET = "a very long made-up word"
TRAIL = "/admin/entitlements/auditentry/"


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
    override = {"act": "deny", "customer": "c", "feature": "m", "reason": "abuse", "lasts": "1h"}
    await owner.post("/admin/overrides/", **override)


async def test_changes_by_pages_and_commands_are_told(
    sidecar: SidecarProcess, emulator: Emulator, tmp_path: Path
) -> None:
    """With before and after; filtered by a command; a viewer sees them and can change none."""
    await in_shell(emulator, tmp_path, ADD_VIEWER)
    owner, viewer = Session(sidecar), Session(sidecar)
    await owner.log_in(USERNAME)
    await viewer.log_in("viewer")
    await _everything_is_changed(owner)
    environment = environment_for(emulator, tmp_path, SIDECAR_OVERRIDES="1", **QUICK_LOGINS)
    began = await run(environment, "override", "grant", "c", "m", "--reason", "a repair")
    listed = (await run(environment, "audit", "--json")).as_json
    filtered = (await run(environment, "audit", "--json", "--act", "override", "--who", USERNAME)).as_json
    page = await viewer.get(TRAIL)
    refused = (await viewer.post(f"{TRAIL}1/delete/", post="yes")).status_code

    assert [
        "fallback.add",
        "fallback.change",
        "fallback.delete",
        "user.add",
        "cache.evicted",
        "override.deny",
        "override.grant",
    ] == [each["act"] for each in listed]
    assert [USERNAME] * 6 == [each["who"] for each in listed[:6]]
    assert {"127.0.0.1"} == {each["whence"] for each in listed[:6]}
    assert {"has_access": False, "usage_limit": None} == listed[1]["before"]
    assert {"has_access": True, "usage_limit": 5.0} == listed[1]["after"]
    assert 0 == began.code
    assert "a repair" == listed[-1]["reason"]
    assert "command line" in listed[-1]["who"]
    assert [("override.deny", "c / m", "abuse")] == [
        (each["act"], each["subject"], each["reason"]) for each in filtered
    ]
    assert 200 == page.status_code
    assert "override.deny" in page.text
    assert "abuse" in page.text
    assert refused == 403
    assert SECRET not in json.dumps(listed)
    assert "pbkdf2" not in page.text + sidecar.output
    assert '"msg": "audit"' in sidecar.output
