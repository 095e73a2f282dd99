"""Flows at once on one machine: sources and intakes alone, in processes of their own, and what was lost between them."""
import time

from tests.bench.process import cpu_s
from tests.bench.reception import WARM_UP_S, Receiver, grown, start_source
from tests.system.theatre import free_ports

LOADS = {
    "4 x 1280x720p50": (4, "1280x720", "50"),
    "1920x1080p59.94": (1, "1920x1080", "60000/1001"),
    "1920x1080i59.94": (1, "1920x1080", "30000/1001", "--interlace"),
    "3840x2160p50": (1, "3840x2160", "50"),
    "3840x2160p50, extended UDP size": (1, "3840x2160", "50", "--picture", "bars", "--maxudp", "8960"),
}
"""Flows, raster, rate and options of the source; all are 4:2:2, ten bit. A source that cannot keep up leaves frames out: its row says what it reached. The
last one draws nothing and sends few packets, to come as near to the rate as the machine lets it, and what it sends is converted, too."""


def flows(table, folder, seconds=10):
    """Adds frames and packets a second, CPU and losses of the packet ring under each load."""
    for number, (name, (count, size, rate, *options)) in enumerate(LOADS.items()):
        _load(table, folder / str(number), name, count, seconds, ["--size", size, "--rate", rate, *options])


def _load(table, folder, row, count, seconds, options):
    names, converted = [f"flow{number}" for number in range(count)], "bars" in options
    sources = [start_source(folder, name, "--group", "127.0.0.1", "--port", str(port), *options) for name, port in zip(names, free_ports(count))]
    receivers = [Receiver(folder / f"{name}.sdp", "packet-ring", *["converted"] * converted) for name in names]
    try:
        time.sleep(WARM_UP_S)
        before = [(receiver.statistics(), cpu_s(receiver.pid)) for receiver in receivers]
        time.sleep(seconds)
        after = [(receiver.statistics(), cpu_s(receiver.pid)) for receiver in receivers]
    finally:
        for process in sources:
            process.kill()
            process.wait()
        for receiver in receivers:
            receiver.__exit__()
    seen = [grown(first, last) for (first, _), (last, _) in zip(before, after)]
    total = {name: sum(flow[name] for flow in seen) for name in seen[0]}
    cpu = sum(last - first for (_, first), (_, last) in zip(before, after))
    reached = total["frames"] / seconds / count
    table.add(f"flows, {row}", "frames a second that the sender reached, a flow", reached, "1/s", "", f"{total['packets'] / seconds:.0f} packets/s in all")
    table.add(f"flows, {row}", "CPU a packet", cpu / max(total["packets"], 1) * 1e6, "us", "<= 0.7", f"{cpu / seconds * 100:.0f} % of a core")
    if converted:
        table.add(f"flows, {row}", "of them converted", total["converted"] / seconds, "1/s", "all", f"{total['frames'] - total['converted']} not, in all")
    total["refused"] = sum(sum(last["refused"].values()) - sum(first["refused"].values()) for (first, _), (last, _) in zip(before, after))
    for name in ("lost", "kernel_drops", "refused", "incomplete", "no_slot"):
        table.add(f"flows, {row}", name, total[name], "", "0")
