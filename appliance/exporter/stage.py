"""The exporter's process: serves what the exposition answers, and has the monitor look once a second. Called as the stage."""
import asyncio
import time

from aiohttp import web

from appliance.exporter.exposition import application
from appliance.exporter.monitor import LOOK_INTERVAL_S, Monitor
from appliance.exporter.reference_clock import SOCKETS, USUAL_DOMAINS, PtpQuestion, look
from appliance.protocol import ptp
from appliance.runtime.stage import Stage


def run(stage: Stage) -> None:
    """The exporter's process."""
    asyncio.run(_serve(stage))


async def _serve(stage: Stage) -> None:
    monitor = Monitor(stage.counters)
    runner = web.AppRunner(application(stage.counters.segment, stage, monitor), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.SockSite(runner, stage.sockets["metrics"]).start()
    stage.on_change(lambda: _follow(stage, monitor))
    _follow(stage, monitor)
    looking = asyncio.create_task(_watch(stage, monitor))
    stage.ready()
    await stage.until_stopped()
    looking.cancel()
    await runner.cleanup()


def _follow(stage: Stage, monitor: Monitor) -> None:
    monitor.follow({stream.name: (stream, stage.flows[stream.name]) for stream in stage.config.streams if stream.name in stage.flows}, time.monotonic())


async def _watch(stage: Stage, monitor: Monitor) -> None:
    """Looks for ever; one that fails is logged, and the next may succeed."""
    question = PtpQuestion((stage.config.server.ptp_socket,) if stage.config.server.ptp_socket else SOCKETS)
    while True:
        try:
            named = {found.domain for flows in stage.flows.values() for flow in (flows.video, *flows.metadata, flows.audio)
                     if flow and (found := ptp.reference(flow.ptp)) and found.domain is not None}
            question.likely = tuple(dict.fromkeys((*sorted(named), *USUAL_DOMAINS)))
            state = await asyncio.to_thread(look, question)
            monitor.look(state, time.monotonic())
        except Exception:
            stage.log.exception("a look at clock and streams failed")
        await asyncio.sleep(LOOK_INTERVAL_S)
