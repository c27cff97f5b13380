"""What goes on in a world besides reads, writes and changes: each lane sets variables, then goes on for ever.

Who asks here follows no health, and asks the other instance where one does not answer: a load balancer.
"""

import asyncio
import contextlib
import itertools
import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import grpc
import httpx

from grpc_service.generated import sidecar_pb2 as pb
from grpc_service.reads import SERVICE
from tests.chaos.records import Answer, FailedRead, Grant, OverrideSeen, Run, now
from tests.cloud_states import boolean_state
from tests.harness import Client, client_at, http_client
from tests.management.command_runs import run as command
from tests.tls_files import NAME, TlsFolder

if TYPE_CHECKING:
    from tests.chaos.machine import Machine

PAUSE_SECONDS = 0.1
CALL_SECONDS = 5.0
OVERRIDE_SECONDS = 3
KEY_SECONDS = 4.0
"""Between two rotations."""
KEYS_ACCEPTED = 8
"""So many of the newest the cloud accepts: a sidecar looks at its file every 2 s, unless it is paused."""
CERTIFICATE_SECONDS = 1.5


class Lane(Protocol):
    """Of one machine."""

    def __init__(self, machine: "Machine") -> None: ...

    def variables(self, name: str) -> dict[str, str]:
        """What it sets in the environment of an instance."""
        ...

    async def go_on(self, run: Run) -> None:
        """Until it is cancelled."""
        ...


class Quiet:
    """Sets nothing."""

    def __init__(self, machine: "Machine") -> None:
        self._machine = machine

    def variables(self, _name: str) -> dict[str, str]:
        return {}

    def _names(self) -> Iterator[tuple[str, str]]:
        """Whom to ask, and whom next: in turn."""
        names = list(self._machine.instances)
        return ((name, other) for name in itertools.cycle(names) for other in names if other != name)


class Shadow(Quiet):
    """Each instance compares its answers with those of the other."""

    def variables(self, name: str) -> dict[str, str]:
        other = next(each for each in self._machine.ports if each != name)
        return {"SIDECAR_SHADOW_ADDRESS": f"127.0.0.1:{self._machine.ports[other].grpc}"}

    async def go_on(self, _run: Run) -> None:
        await asyncio.Event().wait()


class Overrides(Quiet):
    """A person grants for some seconds what the cloud denies, again and again."""

    async def go_on(self, run: Run) -> None:
        who = f"o{run.seed}"
        await self._machine.cloud.ask(
            "PUT", "state", customerId=who, state=boolean_state(granted=False), push=True
        )
        await asyncio.gather(self._grant(run, who), self._look(run, who))

    async def _grant(self, run: Run, who: str) -> None:
        words = ("grant", who, "f", "--for", f"{OVERRIDE_SECONDS}s", "--reason", "chaos")
        for name, _ in self._names():
            grant = Grant(began=now())
            run.grants.append(grant)
            environment = self._machine.instances[name].environment
            with contextlib.suppress(TimeoutError):
                await command(environment, "override", *words)
            grant.ends_by = now() + OVERRIDE_SECONDS
            await asyncio.sleep(2 * OVERRIDE_SECONDS)

    async def _look(self, run: Run, who: str) -> None:
        async with contextlib.AsyncExitStack() as stack:
            clients = {
                name: await stack.enter_async_context(client_at(instance.address))
                for name, instance in self._machine.instances.items()
            }
            request = pb.GetBooleanEntitlementRequest(customer_id=who, feature_id="f")
            for name, _ in self._names():
                started = now()
                with contextlib.suppress(grpc.aio.AioRpcError):
                    answer = await clients[name].GetBooleanEntitlement(request, timeout=CALL_SECONDS)
                    run.overrides_seen.append(
                        OverrideSeen(
                            instance=name, started=started, ended=now(), is_granted=answer.has_access
                        )
                    )
                await asyncio.sleep(PAUSE_SECONDS)


class Doors(Quiet):
    """Reads by the Connect protocol and by OFREP, a connection each time, as short scripts do."""

    def variables(self, name: str) -> dict[str, str]:
        return {"SIDECAR_HTTP_PORT": str(self._machine.ports[name].api)}

    async def go_on(self, run: Run) -> None:
        customers = itertools.cycle(run.truth.customers())
        for (name, other), door in zip(self._names(), itertools.cycle(("connect", "ofrep")), strict=False):
            who, started = next(customers), now()
            answer = await self._ask(name, door, who) or await self._ask(other, door, who)
            if answer is None:
                read = FailedRead(customer_id=who, method=door, started=started, ended=now())
                run.failed_reads.append(read)
            else:
                run.answers.append(answer)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _ask(self, name: str, door: str, who: str) -> Answer | None:
        started, url = now(), f"http://127.0.0.1:{self._machine.ports[name].api}"
        with contextlib.suppress(httpx.TransportError):
            async with http_client(timeout=CALL_SECONDS) as client:
                if door == "connect":
                    path = f"{url}/{SERVICE}/GetNumericEntitlement"
                    reply = await client.post(path, json={"customerId": who, "featureId": "number"})
                else:
                    body = {"context": {"targetingKey": who}}
                    reply = await client.post(f"{url}/ofrep/v1/evaluate/flags/number", json=body)
            return _answer_of(reply, door, name=name, who=who, started=started)
        return None


def _answer_of(reply: httpx.Response, door: str, *, name: str, who: str, started: float) -> Answer | None:
    said: dict[str, Any] = reply.json()
    if door == "connect":
        number = said.get("entitlement", {}).get("value")
        source, state = (reply.headers.get(f"trailer-stigg-{word}", "") for word in ("source", "state"))
        is_fallback = said.get("isFallback", False)
    else:
        number, reported = said.get("value"), said.get("metadata", {})
        source, state = reported.get("source", ""), reported.get("state", "")
        is_fallback = said.get("reason") == "DEFAULT" or "errorCode" in said
    if reply.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
        return None
    return Answer(
        customer_id=who,
        method=door,
        line=f"{name}/{door}",
        epoch=-1,
        started=started,
        ended=now(),
        is_fallback=is_fallback or source in {"fallback", "offline"},
        source=source,
        state=state,
        number=None if number is None else int(number),
    )


class Keys(Quiet):
    """The key of the cloud is rotated every few seconds."""

    def __init__(self, machine: "Machine") -> None:
        super().__init__(machine)
        self._keys = [machine.cloud.api_key]

    def variables(self, name: str) -> dict[str, str]:
        self._lay(name)
        return {"SERVER_API_KEY": "", "SERVER_API_KEY_FILE": str(self._file(name))}

    async def go_on(self, _run: Run) -> None:
        while True:
            self._keys = [*self._keys, f"server-{secrets.token_hex(8)}"][-KEYS_ACCEPTED:]
            await self._machine.cloud.ask("PUT", "api-keys", keys=self._keys)
            for name in self._machine.instances:
                self._lay(name)
            await asyncio.sleep(KEY_SECONDS)

    def _file(self, name: str) -> Any:
        return self._machine.folder / f"key-{name}"

    def _lay(self, name: str) -> None:
        new = self._file(name).with_suffix(".new")
        new.write_text(self._keys[-1])
        new.replace(self._file(name))


class Certificates(Quiet):
    """Certificates are renewed every moment; each call is a connection by TLS of its own."""

    def __init__(self, machine: "Machine") -> None:
        super().__init__(machine)
        self._folders: dict[str, TlsFolder] = {}

    def variables(self, name: str) -> dict[str, str]:
        folder = self._machine.folder / f"tls-{name}"
        folder.mkdir()
        self._folders[name] = TlsFolder(folder)
        return self._folders[name].variables | {"PORT": str(self._machine.ports[name].tls)}

    async def go_on(self, run: Run) -> None:
        await asyncio.gather(self._renew(), self._call(run))

    async def _renew(self) -> None:
        while True:
            for folder in self._folders.values():
                await asyncio.to_thread(folder.lay)
            await asyncio.sleep(CERTIFICATE_SECONDS)

    async def _call(self, run: Run) -> None:
        customers = itertools.cycle(run.truth.customers())
        for name, other in self._names():
            who, started = next(customers), now()
            if not (await self._ask(name, who) or await self._ask(other, who)):
                read = FailedRead(customer_id=who, method="tls", started=started, ended=now())
                run.failed_reads.append(read)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _ask(self, name: str, who: str) -> bool:
        authority = self._folders[name].authority.cert_pem.bytes()
        options = [("grpc.ssl_target_name_override", NAME), ("grpc.use_local_subchannel_pool", 1)]
        address = f"127.0.0.1:{self._machine.ports[name].tls}"
        credentials = grpc.ssl_channel_credentials(authority)
        request = pb.GetNumericEntitlementRequest(customer_id=who, feature_id="number")
        async with grpc.aio.secure_channel(address, credentials, options) as channel:
            try:
                stub: Client = Client(channel)
                await stub.GetNumericEntitlement(request, timeout=CALL_SECONDS)
            except grpc.aio.AioRpcError:
                return False
        return True
