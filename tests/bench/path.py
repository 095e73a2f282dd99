"""The whole path: CPU by stage, joins, several viewers, ten minutes without loss."""
import json
import time

from tests.bench.latency import BARS, SCRIPT, made
from tests.bench.process import cpu_s, percentile, resident_bytes
from tests.system.browser import Browser
from tests.system.theatre import Theatre


def stages(table, folder, seconds=20, joins=20):
    """CPU of each stage: idle, with one real viewer, and what each further viewer costs; joins; frame rates."""
    with Theatre(made(folder / "theatre"), ["--timestamp-bars"]) as theatre, Browser(made(folder / "chromium")) as browser:
        time.sleep(2)
        idle = stage_cpu(theatre, seconds / 2)
        table.add("CPU, nobody watches", "ingest", idle.pop("ingest.endoscope") * 100, "% of a core")
        table.add("CPU, nobody watches", "all other stages together", sum(idle.values()) * 100, "% of a core")
        table.add("source", "appliance source, 720p50 and metadata", _busy(theatre.source.pid, seconds / 2) * 100, "% of a core", "<= 33")
        _joins(table, theatre, browser, joins)
        pages = [_viewer(theatre, browser)]
        one = stage_cpu(theatre, seconds)
        path = {name: one[name] for name in ("ingest.endoscope", "convert.endoscope", "encode.endoscope.expert")}
        for name, busy in path.items():
            table.add("CPU, one viewer", name, busy * 100, "% of a core")
        table.add("CPU, one viewer", "ingest + convert + encode", sum(path.values()) * 100, "% of a core", "<= 60")
        pages += [_viewer(theatre, browser) for _ in range(3)]
        before = [page.evaluate("applianceViewer.frames") for page in pages]
        begun = time.monotonic()
        four = stage_cpu(theatre, seconds)
        elapsed = time.monotonic() - begun
        rates = [(page.evaluate("applianceViewer.frames") - count) / elapsed for page, count in zip(pages, before)]
        # Four browsers take more than two cores have; what a viewer costs is what the workers that serve it need more.
        serving = [sum(busy for name, busy in stages.items() if name.startswith("fanout.")) for stages in (one, four)]
        table.add("four viewers", "fan-out workers' CPU a further viewer", (serving[1] - serving[0]) / 3 * 100, "% of a core", "< 2")
        table.add("four viewers", "all stages' CPU a further viewer", (sum(four.values()) - sum(one.values())) / 3 * 100, "% of a core")
        table.add("four viewers", "frames a second, slowest and fastest page", f"{min(rates):.1f}-{max(rates):.1f}", "1/s")
        for page in pages:
            page.close()


def _viewer(theatre, browser, **query):
    page = browser.open(theatre.link("expert", **query))
    page.wait("window.applianceViewer && applianceViewer.frames > 50", 30)
    return page


def _joins(table, theatre, browser, count):
    url, token, times = f"{theatre.url}/whep/{theatre.stream}", theatre.token("expert"), []
    page = browser.open(theatre.url)
    time.sleep(0.5)
    page.evaluate(SCRIPT + "; 0")
    for _ in range(count):
        page.evaluate(f"startMeasuring({json.dumps(url)}, {json.dumps(token)}, 'video/H264').then(() => 0)")
        page.wait("measured.firstFrameAt > 0", 20)
        times.append(page.evaluate("measured.firstFrameAt - measured.postedAt"))
        page.evaluate(f"stopMeasuring({json.dumps(token)}).then(() => 0)")
        time.sleep(0.3)
    page.close()
    table.add("join", f"POST to first painted frame, p50 of {count}", percentile(times, 0.5), "ms", "<= 300")
    table.add("join", f"POST to first painted frame, p95 of {count}", percentile(times, 0.95), "ms")


def stage_cpu(theatre, seconds):
    """{stage: share of a core} over the next `seconds`."""
    pids = theatre.stages()
    before, begun = {name: cpu_s(pid) for name, pid in pids.items()}, time.monotonic()
    time.sleep(seconds)
    elapsed = time.monotonic() - begun
    return {name: (cpu_s(pid) - before[name]) / elapsed for name, pid in pids.items()}


def _busy(pid, seconds):
    before = cpu_s(pid)
    time.sleep(seconds)
    return (cpu_s(pid) - before) / seconds


def soak(table, folder, minutes=10):
    """No frame lost by us, no packet dropped, memory flat, with one real viewer."""
    with Theatre(made(folder / "theatre"), ["--timestamp-bars"]) as theatre, Browser(made(folder / "chromium")) as browser:
        page = _viewer(theatre, browser, measure=1)
        time.sleep(20)
        pids = theatre.stages()
        memory = {name: resident_bytes(pid) for name, pid in pids.items()}
        names = ("appliance_ingest_frames_total", "appliance_ingest_packets_total", "appliance_ingest_packets_lost_total", "appliance_frames_dropped_total",
                 "appliance_convert_frames_total")
        before = {name: theatre.metric(name) for name in names}
        begun = time.monotonic()
        while time.monotonic() - begun < minutes * 60:
            time.sleep(1)
            assert theatre.source.poll() is None and theatre.process.poll() is None
        elapsed = time.monotonic() - begun
        grown = {name: theatre.metric(name) - before[name] for name in names}
        row = f"{minutes:g} minutes"
        for name in names:
            table.add(row, name, int(grown[name]), "", "0" if "lost" in name or "dropped" in name else f"{elapsed * 50:.0f} frames" if "frames" in name else "")
        assert theatre.stages() == pids, "a stage was restarted"
        for name, pid in pids.items():
            change = (resident_bytes(pid) - memory[name]) / 2**20
            if abs(change) >= 1:
                table.add(row, f"memory of {name} changed by", change, "MiB", "flat")
        table.add(row, "memory of all stages together", sum(resident_bytes(pid) for pid in pids.values()) / 2**20, "MiB",
                  f"{sum(memory.values()) / 2**20:.0f} before")
        latencies = page.evaluate("applianceViewer.glassLatencies")
        for share in (50, 99):
            table.add(row, f"p{share} latency of the last {len(latencies)} frames", percentile(latencies, share / 100), "ms", BARS[share])
        page.close()
