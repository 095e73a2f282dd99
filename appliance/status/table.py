"""The summary for a terminal, or for whoever reads a pipe: it fits narrow screens, and colours only add to what the words say."""
from collections.abc import Iterator
from typing import TextIO

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from appliance.status.summary import WAITS

PIPE_COLUMNS = 110
"""A pipe has no width of its own; a mail or a ticket shows so much."""
_COLOURS = {"healthy": "green", "partially healthy": "yellow", "unhealthy": "red", "inactive": "dim"}
_DOMAINS = {"link": "link", "connection": "connection", "external_synchronisation": "time", "stream": "stream"}
_STAMPS = {"hardware": "by the network card", "kernel": "by the kernel", "merged": "of merged packets, which share one: no verdict",
           "batch": "taken when batches were read: no verdict", None: "not known yet"}
_SILENT_S_MIN = 10  # nobody speaks all the time
_BASES = {"ptp": "capture time, by PTP", "clock": "capture time, by this machine's clock", "arrival": "by arrival"}


def show(found: dict, file: TextIO) -> None:
    """Prints it, in colours where a person looks (NO_COLOR is honoured)."""
    if not file.isatty():
        print(text(found), file=file)
        return
    Console(file=file, highlight=False).print(Group(*_parts(found)))


def text(found: dict, columns: int = PIPE_COLUMNS) -> str:
    """The same as plain text."""
    console = Console(width=columns, no_color=True, highlight=False, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(Group(*_parts(found)))
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def _parts(found: dict) -> Iterator[RenderableType]:
    yield Text("healthy", "bold green") if found["healthy"] else Text("NOT HEALTHY: " + "; ".join(found["reasons"]), "bold red")
    for remark in found["remarks"]:
        yield Text(f"note: {remark}", "yellow")
    for stream in found["streams"]:
        yield Text()
        yield from _stream(stream)
    if found["clock"]:
        yield Text()
        yield _grid([("clock", Text(_clock(found["clock"])))])
    yield Text()
    yield _stages(found["stages"])


def _stream(stream: dict) -> Iterator[RenderableType]:
    waits = stream["picture"] == WAITS
    status = WAITS if waits else (stream["status"] or {}).get("overall", "not judged yet")
    yield Text.assemble((stream["name"], "bold"), f"  {stream['title']}: " if stream["title"] else ": ", (status, _COLOURS.get(status, "")))
    if waits:
        return  # nothing of it runs; why is said above
    for finding in stream["findings"]:
        particulars = f" ({finding['particulars']})" if finding["particulars"] else ""
        yield Padding(Text.assemble((finding["status"], _COLOURS[finding["status"]]), f": {finding['sentence']}{particulars}"), (0, 0, 0, 2))
    rows: list[tuple[str, RenderableType]] = []
    if stream["status"]:
        words = [(label, stream["status"][domain]) for domain, label in _DOMAINS.items()]
        rows.append(("status", Text(", ").join(Text.assemble(f"{label} ", (word, _COLOURS[word])) for label, word in words)))
    holes = f", {stream['frames_incomplete_per_second']} with holes" if stream["frames_incomplete_per_second"] else ""
    dropped = f"; {stream['frames_dropped']:,} dropped in the appliance" if stream["frames_dropped"] else ""
    promised = f" of {stream['frames_per_second_promised']:g}" if stream["frames_per_second_promised"] else ""
    rows.append(("picture", Text(f"{stream['picture']}; {stream['frames_per_second']}{promised} frames/s{holes}{dropped}")))
    refused = f", {stream['packets_refused_per_second']:,} refused" if stream["packets_refused_per_second"] else ""
    rows.append(("packets", Text(f"{stream['packets_per_second']:,} a second{refused}; {stream['packets_lost']:,} lost since the start")))
    for path in stream["paths"]:
        name = f"path {path['path']}" if len(stream["paths"]) > 1 else "path"
        rows += [(name, Text(_counts(path))), ("sender", Text(_sender(path, stream["sender_type_promised"])))]
    if stream["sound"]:
        rows.append(("sound", Text(_heard(stream["sound"]))))
    if stream["metadata"]:
        rows.append(("metadata", Text(_said(stream["metadata"]))))
    if stream["time"]:
        rows.append(("time", Text(_time(stream["time"]))))
    rows.append(("viewers", Text(f"{stream['viewers']['expert']} experts, {stream['viewers']['class']} in classes")))
    rows += [("", Text(_sight(audience, seen))) for audience, seen in stream["seen"].items() if seen]
    yield Padding(_grid(rows), (0, 0, 0, 2))


def _grid(rows: list[tuple[str, RenderableType]]) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, words in rows:
        grid.add_row(label, words)
    return grid


def _counts(path: dict) -> str:
    """What a path brought; what is nought is left out."""
    words = {"packets": "packets", "packets_lost": "lost", "packets_recovered": "recovered by the other", "packets_reordered": "reordered",
             "packets_duplicate": "doubled", "packets_late": "late", "packets_malformed": "malformed", "packets_refused": "refused",
             "kernel_drops": "dropped by the kernel"}
    return ", ".join(f"{path[name]:,} {word}" for name, word in words.items() if name in path and (path[name] or name in ("packets", "packets_lost")))


def _heard(sound: dict) -> str:
    """The sound in one line; what is nought is left out."""
    words = [f"{sound['packets_per_second']:,} packets/s" if sound["comes"] else "none comes"]
    words += [f"{sound[name]:,} {word}" for name, word in (("packets_lost", "lost"), ("packets_refused", "refused")) if sound[name]]
    words += [f"silent for {sound['silent_seconds']:,} s: is the microphone on?"] if sound["silent_seconds"] >= _SILENT_S_MIN else []
    words += [f"{sound['silence_seconds']} s of silence in place of what was lost"] if sound["silence_seconds"] else []
    return ", ".join([*words, f"{sound['listeners']} listen"])


def _said(metadata: dict) -> str:
    """The metadata flows in one line; what is nought is left out."""
    names = {"video": "of the picture", "audio": "of the sound", "rendition": "of what belongs together"}
    words = [f"{rate} grains/s {names[kind]}" for kind, rate in metadata["grains_per_second"].items() if rate] or ["no grains come"]
    words += [f"{metadata['flows_silent']} of its flows silent"] if metadata["flows_silent"] else []
    words += [f"{metadata[name]:,} {word}" for name, word in (("grains_refused", "refused"), ("grains_withheld_from_class", "kept from the class"),
                                                            ("type1_missing", "elements of Type 1 left out")) if metadata[name]]
    return ", ".join(words) + ("" if metadata["one_patient"] else "; its flows name DIFFERENT PATIENTS")


def _sender(path: dict, promised: str | None) -> str:
    """ST 2110-21 in one line."""
    timing, kind = path["timing"], path["sender_type"]
    stamps = f"stamps {_STAMPS[path['timestamps']]}"
    if kind in (None, "not_measured") or not timing.get("picture_packets"):
        return f"{kind or 'not_measured'}; {stamps}".replace("_", " ")
    limit = timing["c_max_packets"] or "any"
    return (f"{kind.replace('_', ' ')} (SDP: {promised or 'does not say'}), {stamps}; C {timing['c_packets']} of {limit}, "
            f"VRX {timing['vrx_min_packets']} to {timing['vrx_max_packets']} of {timing['vrx_full_packets']}, {timing['picture_packets']} packets a picture, "
            f"spacing {timing['spacing_mean_us']} us (99 of 100: {timing['spacing_p99_us']}), first packet {timing['first_packet_min_us']} to "
            f"{timing['first_packet_max_us']} us (TRO {timing['first_packet_limit_us']}), RTP time {timing['rtp_offset_min_ticks']} to "
            f"{timing['rtp_offset_max_ticks']} ticks from the epoch's grid, steps {timing['rtp_delta_min_ticks']} to {timing['rtp_delta_max_ticks']}")


def _time(time: dict) -> str:
    named = time["sdp_grandmaster"] or "any"
    domain = "" if time["sdp_domain"] is None else f", domain {time['sdp_domain']}"
    return f"{_BASES[time['basis']]}; the SDP's PTP clock: {named}{domain}"


def _clock(clock: dict) -> str:
    ptp = clock["ptp"]
    kernel = {True: "the kernel's clock is synchronised", False: "nothing synchronises the kernel's clock", None: "the kernel may not be asked"}
    if ptp is None:
        words = "no PTP on this machine"
    elif ptp["problem"]:
        words = f"PTP cannot be asked: {ptp['problem']}"
    else:
        words = f"PTP domain {ptp['domain']}, {'locked' if ptp['locked'] else 'NOT LOCKED'}, grandmaster {ptp['grandmaster'] or 'none'}, offset {ptp['offset_ns']:,} ns"
    told = "" if clock["kernel_tai_offset_s"] else ", which nobody told the kernel"
    return f"{words}; {kernel[clock['kernel_synchronised']]}; TAI - UTC {clock['tai_offset_s']} s{told}"


def _sight(audience: str, seen: dict) -> str:
    """One line: what an audience of a stream sees, as its pages say."""
    late = "latency unknown" if seen["latency_p50_ms"] is None else f"{seen['latency_p50_ms']} ms late (95 of 100 frames: {seen['latency_p95_ms']} ms)"
    words = [late, f"{seen['frames_per_second']} frames/s", f"frozen {seen['frozen_seconds_per_minute']} s a minute"]
    if seen["packets_lost_percent"] is not None:
        words.append(f"{seen['packets_lost_percent']} % of packets lost")
    if seen["metadata_joined_percent"] is not None:
        words.append(f"{seen['metadata_joined_percent']} % of frames with metadata")
    return f"{'experts see' if audience == 'expert' else 'the class sees'} it " + ", ".join(words)


def _stages(stages: list[dict]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1), header_style="dim")
    table.add_column("stage", overflow="fold")
    for heading in ("ready", "CPU %", "MiB", "restarts"):
        table.add_column(heading, justify="right", no_wrap=True)
    for stage in stages:
        table.add_row(stage["name"], "yes" if stage["ready"] else Text("NO", "bold red"), str(stage["cpu_percent"]), str(stage["resident_mib"]), str(stage["restarts"]))
    return table
