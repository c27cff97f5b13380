"""Who comes in, what a viewer may, and what guessing costs."""

import asyncio
import re
from pathlib import Path

import httpx

from emulator.server import Emulator
from entitlements.admin import urls  # noqa: F401 - which adds all pages to the site
from entitlements.admin.site import site
from tests.admin.visitor import PASSWORD, QUICK_LOGINS, USERNAME
from tests.harness import SidecarProcess, environment_for, http_client, running_sidecar
from tests.management.command_runs import run

OWN_MODELS = {"fallbackrule", "cachedcustomer", "outboxentry", "entitlementoverride", "auditentry"}
LOOKED_AT = {"explain/", "configuration/", "shadow/", "entitlements/cachedcustomer/1/change/"}
"""Pages that change nothing, whoever asks and however."""
ADD_VIEWER = """
from django.contrib.auth.models import Group, User
user = User.objects.create_user("viewer", password="correct horse battery staple", is_staff=True)
user.groups.add(Group.objects.get(name="viewers"))
"""


async def in_shell(emulator: Emulator, folder: Path, code: str) -> str:
    """What `manage.py shell` prints beside the running sidecar."""
    ended = await run(environment_for(emulator, folder, **QUICK_LOGINS), "shell", "--no-imports", "-c", code)
    assert 0 == ended.code, ended.output
    return ended.output


class Session:
    """A client that keeps its cookies, as a browser does on http://localhost."""

    def __init__(self, sidecar: SidecarProcess) -> None:
        self.address = f"http://127.0.0.1:{sidecar.http_port}"
        self.cookies: dict[str, str] = {}

    async def get(self, path: str) -> httpx.Response:
        return await self._send("GET", path, None)

    async def post(self, path: str, **fields: str | list[str]) -> httpx.Response:
        token = {"csrfmiddlewaretoken": self.cookies.get("sidecar_csrf", "")}
        return await self._send("POST", path, token | fields)

    async def log_in(self, username: str = USERNAME, password: str = PASSWORD) -> httpx.Response:
        await self.get("/admin/login/")
        return await self.post("/admin/login/", username=username, password=password, next="/admin/")

    async def _send(self, method: str, path: str, data: object) -> httpx.Response:
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        async with http_client() as client:
            answer = await client.request(method, self.address + path, data=data, headers=headers, timeout=30)  # type: ignore[arg-type]
        self.cookies |= dict(answer.cookies)
        return answer


async def test_nobody_can_log_in_before_somebody_is_made(emulator: Emulator, tmp_path: Path) -> None:
    async with running_sidecar(emulator, tmp_path, **QUICK_LOGINS) as sidecar:
        for username, password in (("admin", "admin"), ("admin", ""), ("stigg", "stigg")):
            answer = await Session(sidecar).log_in(username, password)
            assert 200 == answer.status_code
        users = await in_shell(
            emulator,
            tmp_path,
            "from django.contrib.auth.models import User; print(User.objects.count(), 'users')",
        )

    assert "0 users" in users


async def test_the_password_is_the_one_in_the_file(emulator: Emulator, tmp_path: Path) -> None:
    """It is taken anew at each start, is never logged, and whoever lost the rights has them again."""
    password_file = tmp_path / "admin-password"
    await asyncio.to_thread(password_file.write_text, PASSWORD)
    variables = {
        "SIDECAR_ADMIN_USERNAME": USERNAME,
        "SIDECAR_ADMIN_PASSWORD_FILE": str(password_file),
        **QUICK_LOGINS,
    }
    async with running_sidecar(emulator, tmp_path, **variables) as sidecar:
        assert 302 == (await Session(sidecar).log_in()).status_code
    await asyncio.to_thread(password_file.write_text, "another horse battery staple\n")
    async with running_sidecar(emulator, tmp_path, **variables) as sidecar:
        assert 200 == (await Session(sidecar).log_in()).status_code
        session = Session(sidecar)
        assert 302 == (await session.log_in(password="another horse battery staple")).status_code
        assert 200 == (await session.get("/admin/auth/user/")).status_code
        assert "battery" not in sidecar.output


async def test_guessing_is_stopped_also_for_the_right_password(sidecar: SidecarProcess) -> None:
    """Five failures lock the name; a header that claims another address changes nothing."""
    answers = [(await Session(sidecar).log_in(password=f"wrong {n}")).status_code for n in range(5)]
    right = await Session(sidecar).log_in()
    other = await Session(sidecar).log_in(username="somebody-else", password="wrong")

    assert [200] * 4 + [429] == answers
    assert 429 == right.status_code
    assert "Too many failed logins" in right.text
    assert 200 == other.status_code


async def test_a_form_from_elsewhere_is_not_accepted(common_sidecar: SidecarProcess) -> None:
    session = Session(common_sidecar)
    await session.get("/admin/login/")
    session.cookies.clear()
    answer = await session.post("/admin/login/", username=USERNAME, password=PASSWORD)

    assert 403 == answer.status_code
    assert "SIDECAR_ADMIN_ORIGINS" in answer.text


async def test_a_viewer_looks_and_changes_nothing(
    sidecar: SidecarProcess, emulator: Emulator, tmp_path: Path
) -> None:
    await in_shell(emulator, tmp_path, ADD_VIEWER)
    session = Session(sidecar)
    assert 302 == (await session.log_in("viewer")).status_code

    overview = await session.get("/admin/")
    assert 200 == overview.status_code
    assert not re.search(r"/admin/auth/", overview.text)
    for path in (
        "/admin/auth/user/",
        "/admin/auth/user/add/",
        "/admin/auth/group/",
    ):
        assert 403 == (await session.get(path)).status_code, path
    shown, changed = await _every_page(session)
    assert dict.fromkeys(shown, 200) == shown
    assert dict.fromkeys(changed, 403) == changed
    assert {
        "overrides/",
        *(f"entitlements/{each}/" for each in ("outboxentry", "fallbackrule", "auditentry")),
    } <= shown.keys()
    trail = "from entitlements.models import AuditEntry; print(AuditEntry.objects.count(), 'changes')"
    assert "0 changes" in await in_shell(emulator, tmp_path, trail)


async def _every_page(viewer: Session) -> tuple[dict[str, int], dict[str, int]]:
    """What is answered to a viewer: by every page of the sidecar's own, and to every change there."""
    places = [f"entitlements/{model._meta.model_name}/" for model in site._registry]
    places = [each for each in places if each.split("/")[1] in OWN_MODELS]
    pages = [str(each.pattern) for each in site.extra_urls()]
    acts = [f"{place}{act}" for place in places for act in ("add/", "1/change/", "1/delete/")]
    acts = [each for each in (*acts, *pages, "entitlements/cachedcustomer/act/") if each not in LOOKED_AT]
    asked = {"act": "evict", "key": "1:c", "sure": "1", "post": "yes", "feature_id": "f", "which": "all"}
    return (
        {each: (await viewer.get(f"/admin/{each}")).status_code for each in (*places, *pages)},
        {each: (await viewer.post(f"/admin/{each}", **asked)).status_code for each in acts},
    )
