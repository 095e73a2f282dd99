"""What the source is asked to send: the command line's options, checked.

Called by __main__ (add_arguments) and by run(). Everything wrong is reported at once, before a socket is opened.
"""
import argparse
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from appliance.errors import ConfigurationError
from appliance.frame import LUMA_WEIGHTS, VideoFormat
from appliance.protocol.sdp import PIXEL_ASPECT_MAX
from appliance.source import destination, path_options, sound_options
from appliance.source.network import interface_address
from appliance.source.path_options import Impairment, SecondPath
from appliance.source.sound import SoundPlan
from cext import source as native

_WIDTH_MAX, _HEIGHT_MAX, _SIDE_MIN, _RATE_MAX = 4096, 2160, 64, 120
_DEPTHS = (8, 10, 12, 16)
_SAMPLINGS = {"4:2:2": "YCbCr-4:2:2", "4:4:4": "YCbCr-4:4:4", "4:2:0": "YCbCr-4:2:0", "RGB": "RGB"}
_PACKINGS = {"gpm": "2110GPM", "bpm": "2110BPM"}
_MAXUDP_MIN, _MAXUDP_STANDARD, _MAXUDP_MAX = 576, 1460, 8960  # Source: ST 2110-10 section 6.3
_BLOCK_BYTES = 180
PICTURES = ("endoscope", "bars")
_VIDEO_PORTS_APART = 2  # RTCP of a flow sits on the port after it
_COMPANION_PORTS_APART = 6  # the last of what describes the sound, and what belongs together (companions.py)


@dataclass(frozen=True)
class Plan:
    """A checked order: what is sent where. Addresses are IPv4 text."""

    name: str
    format: VideoFormat
    source_address: str
    group: str
    port: int
    metadata_group: str | None
    """None sends no metadata."""
    metadata_port: int
    ttl: int
    sdp_directory: Path | None
    segmented: bool
    """Whether the kernel may cut runs of equal packets (UDP_SEGMENT)."""
    stamped: bool
    seconds: float | None
    """None sends until stopped."""
    picture: str = PICTURES[0]
    maxudp: int = _MAXUDP_STANDARD
    """Octets of the largest UDP datagram, its header included."""
    metadata_websocket: int | None = None
    """TCP port at which the metadata is offered over a WebSocket as well."""
    sound: SoundPlan | None = None
    """None sends no sound, and no frame flashes."""
    second: SecondPath | None = None
    """Where video and metadata go a second time."""
    impairment: Impairment = Impairment()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `appliance source` to a parser."""
    parser.add_argument("--interface", default="lo", help="interface that sends, by name or address (default: lo)")
    parser.add_argument("--group", default="239.20.22.1", help="multicast group, or a receiver's address, for the video (default: 239.20.22.1)")
    parser.add_argument("--port", type=int, default=5004, help="UDP port of the video (default: 5004)")
    parser.add_argument("--metadata-group", help="where the metadata goes (default: the group after the video's; a receiver's address: the same)")
    parser.add_argument("--metadata-port", type=int, help="UDP port of the metadata (default: the video's + 2)")
    parser.add_argument("--metadata-websocket", type=int, metavar="PORT", help="offer the metadata at ws://ADDRESS:PORT as well")
    parser.add_argument("--no-metadata", action="store_true", help="send video alone")
    sound_options.add_arguments(parser)
    path_options.add_arguments(parser)
    parser.add_argument("--ttl", type=int, default=16, help="routers that a multicast packet may pass (default: 16)")
    parser.add_argument("--size", default="1280x720", help="raster, WIDTHxHEIGHT (default: 1280x720)")
    parser.add_argument("--rate", default="50", help="frames a second, of interlaced video, too: 50, 59.94, 60000/1001, ... (default: 50)")
    parser.add_argument("--depth", type=int, default=10, help="bits a sample: 8, 10, 12 or 16 (default: 10)")
    parser.add_argument("--sampling", default="4:2:2", help="4:2:2, 4:4:4, 4:2:0 or RGB (default: 4:2:2)")
    parser.add_argument("--interlace", action="store_true", help="two fields a frame, half a frame apart in time: 1080i50 is --rate 25 --interlace")
    parser.add_argument("--segmented", action="store_true", help="progressive segmented frames (PsF): two segments of one picture a frame")
    parser.add_argument("--packing", default="gpm", help="gpm, general, or bpm, blocks of 180 octets (default: gpm)")
    parser.add_argument("--maxudp", type=int, default=_MAXUDP_STANDARD, help=f"octets of the largest UDP datagram, up to {_MAXUDP_MAX} (default: {_MAXUDP_STANDARD})")
    parser.add_argument("--colorimetry", default="BT709", help="BT601, BT709 or BT2020 (default: BT709)")
    parser.add_argument("--range", default="NARROW", help="NARROW, FULL or FULLPROTECT (default: NARROW)")
    parser.add_argument("--pixel-aspect", default="1:1", metavar="W:H", help="shape of a pixel that the SDP names, such as 16:11 (default: 1:1)")
    parser.add_argument("--picture", default=PICTURES[0], help="endoscope, or bars: colour bars of known values, standing still (default: endoscope)")
    parser.add_argument("--name", default="endoscope", help="names the flows and their SDP files (default: endoscope)")
    parser.add_argument("--sdp-dir", type=Path, metavar="DIR", help="write NAME.sdp and NAME-metadata.sdp there; with --sound the sound's, its metadata's and NAME-rendition.sdp, too")
    parser.add_argument("--timestamp-bars", action="store_true", help="burn the time of sending into the top 16 rows, for latency measurements")
    parser.add_argument("--no-segmentation", action="store_true", help="hand every packet to the kernel by itself: dearer, and on loopback receivers get no runs")
    parser.add_argument("--seconds", type=float, help="end after so many seconds (default: when stopped)")


def plan(options: argparse.Namespace) -> Plan:
    """The checked order. Raises ConfigurationError naming every option that cannot be used."""
    problems: list[str] = []

    def checked(check, *arguments):
        try:
            return check(*arguments)
        except ConfigurationError as error:
            problems.extend(error.problems)
            return None

    format = checked(_format, options)
    source_address = checked(interface_address, options.interface)
    group = checked(destination.group, "--group", options.group)
    port = checked(destination.port, "--port", options.port)
    metadata_group = metadata_port = None
    if not options.no_metadata:
        metadata_group = checked(destination.group, "--metadata-group", options.metadata_group) if options.metadata_group else group and destination.following(group, 1)
        metadata_port = checked(destination.port, "--metadata-port", options.metadata_port or (port or 0) + _VIDEO_PORTS_APART) if port else 0
    if options.metadata_websocket is not None:
        checked(destination.port, "--metadata-websocket", options.metadata_websocket)
        if options.no_metadata:
            problems.append(str(ConfigurationError("--metadata-websocket", "metadata to offer", "--no-metadata")))
    sound = checked(sound_options.plan, options, group, port) if group and port else None
    if sound and metadata_port:
        checked(destination.port, "--metadata-port", metadata_port + _COMPANION_PORTS_APART)
    second = checked(path_options.second_path, options, group, port) if group and port and source_address else None
    impairment = checked(path_options.impairment, options)
    for check in (_name, _ttl, _seconds, _directory, _picture):
        checked(check, options)
    if format:
        checked(_maxudp, options.maxudp, format)
        if options.timestamp_bars:
            checked(_room_for_stamp, format.width)
    if (metadata_group, metadata_port) == (group, port) and not problems:
        problems.append(str(ConfigurationError("--metadata-group, --metadata-port", "a destination of its own", "the video's")))
    if problems:
        raise ConfigurationError.of(problems)
    return Plan(options.name, format, source_address, group, port, metadata_group, metadata_port or 0, options.ttl, options.sdp_dir,
                not options.no_segmentation, options.timestamp_bars, options.seconds, options.picture, options.maxudp,
                options.metadata_websocket, sound, second, impairment)


def _format(options: argparse.Namespace) -> VideoFormat:
    """The format that the options describe. Raises ConfigurationError with all that is wrong with it."""
    problems: list[str] = []

    def checked(check, *arguments):
        try:
            return check(*arguments)
        except ConfigurationError as error:
            problems.extend(error.problems)
            return None

    size, depth, rate = checked(_size, options.size), checked(_depth, options.depth), checked(_rate, options.rate)
    sampling, packing = checked(_one_of, "--sampling", options.sampling, _SAMPLINGS), checked(_one_of, "--packing", options.packing, _PACKINGS)
    colorimetry = checked(_one_of, "--colorimetry", options.colorimetry, {name: name for name in LUMA_WEIGHTS})
    code_range = checked(_one_of, "--range", options.range, {name: name for name in ("NARROW", "FULL", "FULLPROTECT")})
    pixel_aspect = checked(_pixel_aspect, options.pixel_aspect)
    if problems:
        raise ConfigurationError.of(problems)
    format = VideoFormat(*size, sampling, depth, rate, options.interlace or options.segmented, options.segmented, colorimetry, range=code_range, packing=packing,
                         pixel_aspect=pixel_aspect)
    for check in (_whole_pgroups, _scan, _whole_blocks):
        checked(check, format)
    if problems:
        raise ConfigurationError.of(problems)
    return format


def _pixel_aspect(text: str) -> Fraction:
    match = re.fullmatch(r"([1-9][0-9]{0,3}):([1-9][0-9]{0,3})", text)
    if not match or not 1 / PIXEL_ASPECT_MAX <= Fraction(int(match[1]), int(match[2])) <= PIXEL_ASPECT_MAX:
        raise ConfigurationError("--pixel-aspect", "width:height such as 16:11", text)
    return Fraction(int(match[1]), int(match[2]))


def _one_of(option: str, text: str, choices: dict[str, str]) -> str:
    """The choice of that name, however its letters are written; 4:2:2 may be written as an SDP has it, YCbCr-4:2:2."""
    for name, chosen in choices.items():
        if text.lower() in (name.lower(), chosen.lower()):
            return chosen
    raise ConfigurationError(option, " or ".join(choices), text)


def _whole_pgroups(format: VideoFormat) -> None:
    columns, rows = format.pgroup.columns, format.pgroup.rows
    if format.width % columns or format.height % rows:
        better = f"{-(-format.width // columns) * columns}x{-(-format.height // rows) * rows}"
        raise ConfigurationError("--size", f"whole pgroups: {format.sampling} of {format.depth} bit has {columns} columns and {rows} rows in one",
                                 f"{format.width}x{format.height}", f"Use {better}.")


def _scan(format: VideoFormat) -> None:
    if format.interlaced and format.pgroup.rows == 2:
        raise ConfigurationError("--interlace, --segmented", "progressive video, the only kind that 4:2:0 has (ST 2110-20)", format.scan, "Leave the option out.")


def _whole_blocks(format: VideoFormat) -> None:
    if format.packing == "2110BPM" and _BLOCK_BYTES % format.pgroup.octets:
        raise ConfigurationError("--packing bpm", f"pgroups that fill a block of {_BLOCK_BYTES} octets", f"pgroups of {format.pgroup.octets}", "Use --packing gpm.")


def _maxudp(maxudp: int, format: VideoFormat) -> None:
    if not _MAXUDP_MIN <= maxudp <= _MAXUDP_MAX:
        raise ConfigurationError("--maxudp", f"{_MAXUDP_MIN} to {_MAXUDP_MAX} octets", str(maxudp))
    if format.packing == "2110BPM" and maxudp != _MAXUDP_STANDARD:
        raise ConfigurationError("--maxudp", f"{_MAXUDP_STANDARD} octets, the size that block packing is made for (ST 2110-20 section 6.3.3)", str(maxudp),
                                 "Leave it out, or use --packing gpm.")


def _picture(options: argparse.Namespace) -> None:
    if options.picture not in PICTURES:
        raise ConfigurationError("--picture", " or ".join(PICTURES), options.picture)
    if options.timestamp_bars and options.picture != PICTURES[0]:
        raise ConfigurationError("--timestamp-bars", f"--picture {PICTURES[0]}, into which they are drawn", options.picture)


def _size(text: str) -> tuple[int, int]:
    size = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if size is None:
        raise ConfigurationError("--size", "WIDTHxHEIGHT such as 1280x720", text)
    width, height = int(size[1]), int(size[2])
    if width % 2:
        raise ConfigurationError("--size", "an even width", text, f"Use {width + 1}x{height}.")
    if not (_SIDE_MIN <= width <= _WIDTH_MAX and _SIDE_MIN <= height <= _HEIGHT_MAX):
        raise ConfigurationError("--size", f"{_SIDE_MIN}x{_SIDE_MIN} to {_WIDTH_MAX}x{_HEIGHT_MAX}", text)
    return width, height


def _depth(depth: int) -> int:
    if depth not in _DEPTHS:
        raise ConfigurationError("--depth", "8, 10, 12 or 16 bits a sample", str(depth))
    return depth


def _rate(text: str) -> Fraction:
    match = re.fullmatch(r"(\d{1,6})(?:/(\d{1,4})|\.(\d{1,6}))?", text)
    if match is None or (match[2] and int(match[2]) == 0) or not 1 <= Fraction(text) <= _RATE_MAX:
        raise ConfigurationError("--rate", f"1 to {_RATE_MAX} frames a second, such as 50, 59.94 or 60000/1001", text)
    rate = Fraction(text)
    if match[3]:  # 59.94, 29.97 and 23.976 are short for n x 1000/1001
        exact = Fraction(round(rate * 1001 / 1000) * 1000, 1001)
        rate = exact if abs(exact - rate) < Fraction(1, 100) and rate.denominator != 1 else rate
    return rate


def _name(options: argparse.Namespace) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", options.name):
        raise ConfigurationError("--name", "letters, digits, dots, dashes and underscores: it becomes a file name", options.name)


def _ttl(options: argparse.Namespace) -> None:
    if not 0 <= options.ttl <= 255:
        raise ConfigurationError("--ttl", "0 to 255", str(options.ttl))


def _seconds(options: argparse.Namespace) -> None:
    if options.seconds is not None and not 0 < options.seconds < float("inf"):
        raise ConfigurationError("--seconds", "a time above 0", str(options.seconds))


def _directory(options: argparse.Namespace) -> None:
    if options.sdp_dir is not None and options.sdp_dir.exists() and not options.sdp_dir.is_dir():
        raise ConfigurationError("--sdp-dir", "a directory", str(options.sdp_dir), "It is a file.")


def _room_for_stamp(width: int) -> None:
    needed = native.STAMP_CELLS * native.STAMP_CELL_PIXELS
    if width < needed:
        raise ConfigurationError("--timestamp-bars", f"a raster of at least {needed} columns", str(width), "Leave the bars out, or send a larger --size.")
