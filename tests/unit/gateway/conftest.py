"""A real gateway in the test's process: TLS on a free port, real counters; its fan-out workers have died."""
import asyncio
import json
import os
import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import aiohttp
import pytest
import uvloop

from appliance import tokens
from appliance.gateway.server import serve
from tests.workbench import Workbench


@dataclass
class Answer:
    """A response, read whole."""

    status: int
    headers: aiohttp.typedefs.CIMultiDictProxy
    body: bytes

    @property
    def problem(self) -> str:
        """The sentence of a problem+json, "" for anything else."""
        return json.loads(self.body)["detail"] if self.headers.get("Content-Type") == "application/problem+json" else ""


class RunningGateway:
    """The gateway and a client for it."""

    def __init__(self, bench: Workbench, client: aiohttp.ClientSession) -> None:
        self.bench, self.client = bench, client
        self.address = bench.stage.sockets["https"].getsockname()[:2]
        self.key = tokens.signing_key(bench.config.server.state_dir)

    def token(self, role: str = "expert", stream: str = "scope", **options) -> str:
        return tokens.issue(self.key, role, stream, **options)

    async def ask(self, method: str, path: str, token: str = "", body: bytes | str | None = None, **headers: str) -> Answer:
        """One request; header names are written with underscores."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            fields["Authorization"] = f"Bearer {token}"
        url = f"https://{self.address[0]}:{self.address[1]}{path}"
        async with self.client.request(method, url, data=body, headers=fields, skip_auto_headers=("Content-Type",)) as response:
            return Answer(response.status, response.headers, await response.read())

    async def raw(self, octets: bytes, secure: bool = True, hang_up: bool = False) -> bytes:
        """Sends octets on a new connection and returns all that comes back until it is closed, or hangs up at once."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        reader, writer = await asyncio.open_connection(*self.address, ssl=context if secure else None)
        try:
            writer.write(octets)
            await writer.drain()
            return b"" if hang_up else await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()

    def count(self, metric: str, **labels: str) -> int:
        return self.bench.value(metric, **labels)


@pytest.fixture
def in_gateway(tmp_path):
    """Runs a coroutine function against a gateway: in_gateway(scenario, live=True, allowed_origins=("*",), ...)."""
    def run(scenario, live: bool = True, stream: str = "", **server) -> None:
        bench = Workbench(tmp_path, "gateway", stream=stream)
        bench.stage.config = replace(bench.config, server=replace(bench.config.server, **server))
        inherited = bench.stage.sockets["https"]  # a process of its own would have a descriptor of its own
        bench.stage.sockets["https"] = inherited.dup()
        inherited.detach()
        for path in bench.stage.peers.values():
            os.unlink(path)
        if live:
            bench.resources.counters.find("ingest.scope", "appliance_ingest_frames_total").add()
        try:
            uvloop.run(_within(bench, scenario))
        finally:
            bench.close()
    return run


async def _within(bench: Workbench, scenario) -> None:
    async with _gateway(bench) as gateway:
        await scenario(gateway)


@asynccontextmanager
async def _gateway(bench: Workbench):
    serving = asyncio.create_task(serve(bench.stage))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as client:
        while not bench.value("appliance_stage_ready"):
            assert not serving.done(), serving.exception()
            await asyncio.sleep(0)
        yield RunningGateway(bench, client)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
