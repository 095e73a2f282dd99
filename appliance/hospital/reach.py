"""Whether the hospital's systems answer, for `appliance check`: sentences for the person who enters their addresses. Changes nothing there."""
import asyncio
import os
from collections.abc import Awaitable, Iterator

from appliance.config import Config
from appliance.errors import ConfigurationError
from appliance.hospital.dimse import Worklist
from appliance.hospital.problem import PeerFailed
from appliance.hospital.service import open_archive


def notes(config: Config) -> list[str]:
    """What keeps them from being used now, and what should be mended; the picture goes on without them."""
    return list(_notes(config))


def _notes(config: Config) -> Iterator[str]:
    if config.worklist and (trouble := asyncio.run(_trouble(_verify_worklist(config)))):
        yield f"[worklist] {config.worklist.peer}: {trouble}"
    if config.pacs and (trouble := asyncio.run(_trouble(_verify_pacs(config)))):
        yield f"[pacs] {config.pacs.peer}: {trouble}"
    web = config.pacs.web if config.pacs else None
    if web and (web.password or web.token):
        if web.url.startswith("http://"):
            yield "[pacs] dicomweb: the password travels in the clear; use https:// where the PACS offers it"
        if os.stat(config.path).st_mode & 0o007:
            yield f"{config.path} holds the PACS's password and everybody can read it; run: chmod 600 {config.path}"


async def _trouble(verifying: Awaitable[None]) -> str:
    try:
        await verifying
    except (PeerFailed, ConfigurationError) as error:
        return str(error)
    return ""


async def _verify_worklist(config: Config) -> None:
    await asyncio.to_thread(Worklist(config.worklist.peer).echo)


async def _verify_pacs(config: Config) -> None:
    archive = open_archive(config.pacs)
    try:
        await archive.verify()
    finally:
        await archive.close()
