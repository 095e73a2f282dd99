"""The appliance's configuration file: TOML in, frozen values out. The only module that reads it; every stage gets its result.

A file is either wholly right or refused with everything that is wrong with it. SDP files are named here, read in topology.
"""
import ipaddress
import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import ConfigurationError
from appliance.frame import Audience, Level, PlanarFormat, VideoFormat, planar_within
from appliance.hospital_config import PacsConfig, WorklistConfig, is_station, read_pacs, read_worklist
from appliance.toml_table import Table, is_address

STREAMS_MAX = 16
STREAM_NAME_CHARACTERS_MAX = 32
METADATA_FLOWS_MAX = 8
TITLE_CHARACTERS_MAX = 120
FILE_BYTES_MAX = 1 << 20
VIEWERS_LIMIT = 10_000
VIEWERS_MAX_DEFAULT = 500
FANOUT_WORKERS_LIMIT = 64
BITRATE_KBPS_MIN, BITRATE_KBPS_MAX = 30, 100_000
HEIGHT_MAX_MIN, HEIGHT_MAX_MAX = 180, 2160
_FANOUT_WORKERS_DEFAULT_MIN, _FANOUT_WORKERS_DEFAULT_MAX = 2, 8

H264_ENCODERS = ("auto", "libx264", "h264_nvenc", "h264_qsv", "h264_amf", "h264_v4l2m2m")
H264_PROFILES = ("constrained-baseline", "high")
PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")

PATHS_MAX = 2
PATH_SKEW_MS_DEFAULT, PATH_SKEW_MS_MAX = 10, 50
"""How far two paths may be apart: ST 2022-7 class A (also the default), and class B."""

RECEPTIONS = ("auto", "packet-ring", "socket")
SOUND_FOR = ("expert", "everyone")
AUDIO_CHANNEL_MAX = 64

_METRICS_DEFAULT = "127.0.0.1:9464"
_METRICS_LINE = re.compile(r"""^[ \t]*metrics[ \t]*=[ \t]*["']([^"'\n]*)["']""", re.MULTILINE)
_TITLE_EXPECTED = f"1 to {TITLE_CHARACTERS_MAX} printable characters"
_STREAM_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_INTERFACE_NAME = re.compile(r"[^\s/:]{1,15}")  # Source: dev_valid_name() in Linux net/core/dev.c; ':' marks an alias
_MEDIA_PORTS = re.compile(r"([0-9]{4,5})(?:-([0-9]{4,5}))?")
_UNPRIVILEGED_PORT = 1024  # the workers open a socket for each viewer, long after they gave their privileges away
_ORIGIN = re.compile(r"https?://[^\s/?#@]+")
_ICE_SECRET = re.compile(r"[^\s\"',;<>\\]{1,256}")  # it travels in a quoted string of a Link header
_ICE_URL = re.compile(r"(stun|stuns|turn|turns):[^\s\"<>;?]+(\?transport=(udp|tcp))?")  # Source: RFC 7064, RFC 7065


@dataclass(frozen=True)
class IceServer:
    """A STUN or TURN server that players are told of (WHEP `Link: <...>; rel="ice-server"`)."""

    url: str
    username: str = ""
    credential: str = ""
    secret: str = ""  # shared with the TURN server instead: each viewer gets a password of its own, good for as long as its token


@dataclass(frozen=True)
class MediaPorts:
    """UDP ports from `first` to `last`, both included; a single one is shared by all viewers."""

    first: int
    last: int

    @property
    def count(self) -> int:
        """How many there are."""
        return self.last - self.first + 1

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


@dataclass(frozen=True)
class ServerConfig:
    """Where the appliance listens and keeps what it must remember."""

    listen_host: str
    listen_port: int
    metrics_host: str
    metrics_port: int
    state_dir: Path
    certificate: Path | None
    certificate_key: Path | None
    fanout_workers: int
    media_addresses: tuple[str, ...]  # addresses that ICE offers; empty: every address of the machine
    media_ports: MediaPorts | None  # UDP ports for the video; None: one a viewer, chosen by the system
    viewers_max: int
    allowed_origins: tuple[str, ...]  # other origins whose pages may play (CORS); ("*",) allows any
    ice_servers: tuple[IceServer, ...]
    ptp_socket: Path | None = None  # of ptp4l; None: where linuxptp has it


@dataclass(frozen=True)
class EncoderConfig:
    """How every rendition is coded."""

    h264: str = "auto"
    bitrate_kbps: int = 6000
    bitrate_half_kbps: int = 2500
    bitrate_small_kbps: int = 700
    preset: str = "superfast"
    h264_profile: str = "constrained-baseline"
    keyframe_interval_s: int = 10
    threads: int = 1
    height_max: int = 1080  # rows of the best picture; a higher source is scaled

    def planar_of(self, video: VideoFormat) -> PlanarFormat:
        """The planar frames that are made of a stream's raw ones: the best level's raster."""
        return planar_within(video, self.height_max)

    def bitrate_kbps_of(self, level: Level) -> int:
        """The bit rate of every rendition on that level."""
        return {Level.FULL: self.bitrate_kbps, Level.HALF: self.bitrate_half_kbps, Level.SMALL: self.bitrate_small_kbps}[level]


@dataclass(frozen=True)
class StreamConfig:
    """One source in a theatre; each flow is an absolute path of an SDP file or an http(s) URL of one."""

    name: str
    title: str
    interfaces: tuple[str, ...]
    """Where the groups are joined: one for all, or one for each path (ST 2022-7), the first leg's first."""
    video: str
    metadata: tuple[str, ...]  # the first describes the picture; ws:// and wss:// addresses carry the packets themselves
    audio: str | None
    receive: str = "auto"
    path_skew_ms: int = PATH_SKEW_MS_DEFAULT
    station: str = ""  # what the worklist calls the place or device whose cases are this stream's
    metadata_authority: Path | None = None  # PEM file that vouches for wss:// servers; None: what this machine trusts
    class_title: str = ""  # what a class is told instead of the title, which may name the theatre
    sound_for: str = "expert"
    audio_channels: tuple[int, ...] = ()  # one for both sides, or one for the left and one for the right, from 1; empty: as the SDP says

    def is_heard_by(self, audience: Audience) -> bool:
        """Whether that audience is sent the sound: voices tell who speaks, so that a class hears them only where it is said."""
        return self.audio is not None and (audience is Audience.EXPERT or self.sound_for == "everyone")

    @property
    def interface(self) -> str:
        """That of the first path, and of flows that have no other."""
        return self.interfaces[0]

    def interface_of(self, path: int) -> str:
        """Where the groups of the first path (0) or the second (1) are joined."""
        return self.interfaces[min(path, len(self.interfaces) - 1)]


@dataclass(frozen=True)
class Config:
    """The whole configuration."""

    path: Path
    server: ServerConfig
    encoder: EncoderConfig
    streams: tuple[StreamConfig, ...]
    worklist: WorklistConfig | None = None
    pacs: PacsConfig | None = None

    @property
    def hospital(self) -> bool:
        """Whether any of the hospital's systems is spoken to."""
        return self.worklist is not None or self.pacs is not None

    def stream(self, name: str) -> StreamConfig:
        """The stream of that name; KeyError if there is none."""
        for stream in self.streams:
            if stream.name == name:
                return stream
        raise KeyError(name)


def load(path: Path | str) -> Config:
    """Reads the file; raises one ConfigurationError whose `.problems` lists everything that is wrong in it."""
    path = Path(path).absolute()
    return parse(_read(path), path)


def parse(text: str, path: Path) -> Config:
    """Reads the text of a configuration file that lies at the absolute `path`; raises as load() does."""
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        # A file nested deeper than the interpreter's stack is not TOML that a person wrote; it is refused like any other.
        said, _, place = str(error).removesuffix(")").partition(" (at ")
        raise ConfigurationError(f"{path}, {place}" if place else str(path), "TOML (https://toml.io)", f"a mistake: {said or 'too deep nesting'}",
                                 "Mend the line and try again.") from error
    problems: list[str] = []
    top = Table(values, "", path, problems)
    server = _server(top.table("server"), _ice_servers(top))
    encoder = _encoder(top)
    streams = _streams(top)
    worklist, pacs = read_worklist(top), read_pacs(top)
    top.close()
    if problems:
        raise ConfigurationError.of(problems)
    return Config(path, server, encoder, streams, worklist, pacs)


def metrics_address(path: Path) -> tuple[str, int]:
    """Host and port of /metrics by a file that load() refuses: from its line, if that can be found; else the default."""
    try:
        line = _METRICS_LINE.search(_read(path))
    except ConfigurationError:
        line = None
    return Table({"metrics": line[1]} if line else {}, "", path, []).address("metrics", _METRICS_DEFAULT)


def example() -> str:
    """The text of a whole configuration file: every key with its default, and one stream."""
    return _EXAMPLE


def join_address(host: str, port: int) -> str:
    """`host:port` as a URL writes it, with brackets round an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        remedy = "Name the file with --config FILE."
        raise ConfigurationError(str(path), "a readable configuration file", error.strerror or str(error), remedy) from error
    if len(content) > FILE_BYTES_MAX:
        raise ConfigurationError(str(path), f"at most {FILE_BYTES_MAX} octets", "more", "Is this the right file?")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        got = f"octet 0x{content[error.start]:02x} at position {error.start}"
        raise ConfigurationError(str(path), "text in UTF-8", got, "Save the file as UTF-8.") from error


def _server(table: Table, ice_servers: tuple[IceServer, ...]) -> ServerConfig:
    listen_host, listen_port = table.address("listen", "127.0.0.1:8443")
    metrics_host, metrics_port = table.address("metrics", _METRICS_DEFAULT)
    if (listen_host, listen_port) == (metrics_host, metrics_port):
        table.report("metrics", "another address than listen has", f"{metrics_host}:{metrics_port} for both")
    certificate, certificate_key = table.path("certificate"), table.path("certificate_key")
    if (certificate is None) != (certificate_key is None):
        missing = "certificate" if certificate is None else "certificate_key"
        table.report(missing, "certificate and certificate_key together", "only one of them",
                     f"Add {missing}, or remove the other one to use a self-signed certificate.")
    server = ServerConfig(
        listen_host=listen_host, listen_port=listen_port, metrics_host=metrics_host, metrics_port=metrics_port,
        state_dir=table.path("state_dir", "state"), certificate=certificate, certificate_key=certificate_key,
        fanout_workers=table.integer("fanout_workers", _default_fanout_workers(), 1, FANOUT_WORKERS_LIMIT),
        media_addresses=table.strings("media_addresses", _media_addresses(listen_host), _is_specific_address,
                                      'IP addresses of this machine, such as "10.0.0.5"'),
        media_ports=_media_ports(table),
        viewers_max=table.integer("viewers_max", VIEWERS_MAX_DEFAULT, 1, VIEWERS_LIMIT),
        allowed_origins=table.strings("allowed_origins", (), lambda text: text == "*" or bool(_ORIGIN.fullmatch(text)),
                                      'origins such as "https://player.example", or "*"'),
        ice_servers=ice_servers,
        ptp_socket=table.path("ptp_socket"),
    )
    table.close()
    return server


def _default_fanout_workers() -> int:
    cores = len(os.sched_getaffinity(0))
    return min(max(_FANOUT_WORKERS_DEFAULT_MIN, cores), _FANOUT_WORKERS_DEFAULT_MAX)


def _media_addresses(listen_host: str) -> tuple[str, ...]:
    """Video leaves by the address that the page came from; a box that listens everywhere offers every address."""
    if listen_host == "localhost":
        return ("127.0.0.1",)
    return (listen_host,) if _is_specific_address(listen_host) else ()


def _media_ports(table: Table) -> MediaPorts | None:
    text = table.text("media_ports", "", lambda text: not text or _read_ports(text) is not None,
                      'a UDP port such as "8443", a range such as "50000-50999", or "" for ports that the system chooses; from 1024 on')
    ports, viewers_max = _read_ports(text), table.values.get("viewers_max", VIEWERS_MAX_DEFAULT)
    if ports and 1 < ports.count and isinstance(viewers_max, int) and ports.count < viewers_max:
        table.report("media_ports", f"a port for each of viewers_max = {viewers_max} viewers", f"{ports.count} ports",
                     "Widen the range, set a lower viewers_max, or name one port for all viewers.")
    return ports


def _read_ports(text: str) -> MediaPorts | None:
    match = _MEDIA_PORTS.fullmatch(text)
    if match is None:
        return None
    first, last = int(match[1]), int(match[2] or match[1])
    return MediaPorts(first, last) if _UNPRIVILEGED_PORT <= first <= last <= 65_535 else None


def _is_specific_address(text: str) -> bool:
    if not is_address(text):
        return False
    address = ipaddress.ip_address(text)
    return not address.is_unspecified and not address.is_multicast


def _ice_servers(top: Table) -> tuple[IceServer, ...]:
    servers = []
    for table in top.tables("ice_server"):
        url = table.text("url", None, lambda text: bool(_ICE_URL.fullmatch(text)), 'a URL such as "stun:host:3478" or "turn:host:3478"')
        username, credential, secret = (
            table.text(key, "", lambda text: bool(_ICE_SECRET.fullmatch(text)), "1 to 256 printable characters without space, quotes or any of , ; < > \\")
            for key in ("username", "credential", "secret"))
        if url.startswith("turn") and not secret and not (username and credential):
            table.report("credential", "username and credential for a TURN server, or secret", "none or one of them")
        if secret and (username or credential):
            table.report("secret", "secret alone, or username and credential", "both")
        table.close()
        servers.append(IceServer(url, username, credential, secret))
    return tuple(servers)


def _encoder(top: Table) -> EncoderConfig:
    default = EncoderConfig()
    if isinstance(top.values.get("encoder"), str):  # `encoder = "auto"` is the short way to write [encoder] h264 = "auto"
        return EncoderConfig(h264=top.choice("encoder", default.h264, H264_ENCODERS))
    table = top.table("encoder")
    bitrate_kbps = table.integer("bitrate_kbps", default.bitrate_kbps, 100, BITRATE_KBPS_MAX)
    half_kbps, small_kbps = (max(BITRATE_KBPS_MIN, bitrate_kbps * humbler // default.bitrate_kbps)
                             for humbler in (default.bitrate_half_kbps, default.bitrate_small_kbps))
    encoder = EncoderConfig(
        h264=table.choice("h264", default.h264, H264_ENCODERS),
        bitrate_kbps=bitrate_kbps,
        bitrate_half_kbps=table.integer("bitrate_half_kbps", half_kbps, BITRATE_KBPS_MIN, BITRATE_KBPS_MAX),
        bitrate_small_kbps=table.integer("bitrate_small_kbps", small_kbps, BITRATE_KBPS_MIN, BITRATE_KBPS_MAX),
        height_max=table.integer("height_max", default.height_max, HEIGHT_MAX_MIN, HEIGHT_MAX_MAX) & ~1,
        preset=table.choice("preset", default.preset, PRESETS),
        h264_profile=table.choice("h264_profile", default.h264_profile, H264_PROFILES),
        keyframe_interval_s=table.integer("keyframe_interval_s", default.keyframe_interval_s, 1, 600),
        threads=table.integer("threads", default.threads, 1, 64),
    )
    table.close()
    return encoder


def _streams(top: Table) -> tuple[StreamConfig, ...]:
    streams: list[StreamConfig] = []
    tables = top.tables("stream")
    if not tables and "stream" not in top.values:
        top.report("[[stream]]", "at least one stream", "none", "Add a [[stream]] with name, interface and video.")
    if len(tables) > STREAMS_MAX:
        top.report("[[stream]]", f"at most {STREAMS_MAX} streams", str(len(tables)), "Run a second appliance for the others.")
    for table in tables[:STREAMS_MAX]:
        name = table.text("name", None, _is_stream_name,
                          f"lower-case letters, digits and single hyphens, at most {STREAM_NAME_CHARACTERS_MAX} characters")
        if name and any(name == other.name for other in streams):
            table.report("name", "a name of its own", f"{name!r}, which another stream has")
        streams.append(StreamConfig(
            name=name,
            title=table.text("title", name, _is_title, _TITLE_EXPECTED),
            class_title=table.text("class_title", name.replace("-", " ").capitalize(), _is_title, _TITLE_EXPECTED),
            interfaces=_interfaces(table),
            path_skew_ms=table.integer("path_skew_ms", PATH_SKEW_MS_DEFAULT, 1, PATH_SKEW_MS_MAX),
            video=table.flow("video", required=True) or "",
            metadata=table.flows("metadata", METADATA_FLOWS_MAX),
            audio=table.flow("audio"),
            receive=table.choice("receive", "auto", RECEPTIONS),
            station=table.text("station", "", is_station, "a scheduled station AE title or station name: 1 to 16 printable characters"),
            metadata_authority=table.path("metadata_authority"),
            sound_for=table.choice("sound_for", "expert", SOUND_FOR),
            audio_channels=table.integers("audio_channels", 1, AUDIO_CHANNEL_MAX, 2),
        ))
        table.close()
    return tuple(streams)


def _is_title(text: str) -> bool:
    return text.isprintable() and 0 < len(text) <= TITLE_CHARACTERS_MAX


def _interfaces(table: Table) -> tuple[str, ...]:
    """`interface`: a name or address, or a list of two for two paths."""
    def usable(text: object) -> bool:
        return isinstance(text, str) and (is_address(text) or bool(_INTERFACE_NAME.fullmatch(text)))

    if not isinstance(table.values.get("interface"), list):
        return (table.text("interface", None, usable, 'a network interface such as "eno1", its IP address, or a list of two for two paths (ST 2022-7)'),)
    expected = 'network interfaces or their IP addresses, such as ["eno1", "eno2"]: that of the first path, then that of the second (ST 2022-7)'
    names = table.strings("interface", (), usable, expected)
    if not 1 <= len(names) <= PATHS_MAX and all(map(usable, table.values["interface"])):
        table.report("interface", f"one interface, or a list of {PATHS_MAX}", f"a list of {len(names)}")
    return names or ("",)


def _is_stream_name(text: str) -> bool:
    return len(text) <= STREAM_NAME_CHARACTERS_MAX and bool(_STREAM_NAME.fullmatch(text))


_EXAMPLE = """\
# The appliance's configuration. Relative paths begin at this file's folder. Keys that are commented out show a default or an example.
# After a change:  appliance check --config THIS_FILE  and then  systemctl reload appliance  (streams), or restart (all else)

[server]
listen = "127.0.0.1:8443"          # HTTPS: viewer, WHEP, API; "0.0.0.0:8443" or "[::]:8443" for every address
metrics = "127.0.0.1:9464"         # plain HTTP: /metrics for Prometheus, /healthz
state_dir = "state"                # keys and certificate; must be writable, and read by nobody else
# certificate = "server.crt"       # PEM, with its chain; without one a self-signed certificate is made in state_dir
# certificate_key = "server.key"
# fanout_workers = 2               # processes that serve viewers; default: the cores, 2 to 8
# media_addresses = ["10.0.0.5"]   # where viewers get the video from; default: the address of listen
# media_ports = ""                 # UDP; default: any. "50000-50999": a port of these for each viewer; "8443": one port for all viewers
# viewers_max = 500                # the next one is told to try again later
# allowed_origins = []             # web pages elsewhere that may play, such as "https://player.example"; "*": any
# ptp_socket = "/run/ptp4l"        # where ptp4l answers; default: /run/ptp4lro of linuxptp 4, else /run/ptp4l

[encoder]
# h264 = "auto"                    # auto: the first hardware encoder that works, else libx264
# bitrate_kbps = 6000              # of the best picture, which everybody gets whose network carries it
# bitrate_half_kbps = 2500         # for slower networks: half the frames; default: 5/12 of bitrate_kbps
# bitrate_small_kbps = 700         # for the slowest: half the width, height and frames; default: 7/60 of bitrate_kbps
# height_max = 1080                # rows of the best picture; a higher source is scaled down to it. 2160 wants a hardware encoder
# preset = "superfast"             # of libx264
# h264_profile = "constrained-baseline"   # or "high"
# keyframe_interval_s = 10         # at the latest; viewers who need one earlier get it at once
# threads = 1

# [[ice_server]]                   # only where viewers reach the appliance through a NAT or a firewall
# url = "turn:turn.example:3478"   # or "turn:turn.example:3478?transport=tcp", "turns:...", "stun:..."
# username = "viewer"
# credential = "credential-of-the-turn-server"
# or `secret` alone, the static-auth-secret of coturn: then each viewer has a password of its own, as long as its token lasts

[[stream]]
name = "endoscope"                 # lower-case letters, digits, hyphens
title = "Endoscope, theatre 3"
# class_title = "Endoscope"        # what students are told instead, for a title may name the theatre; default: the name
interface = "lo"                   # where the multicast groups are joined: a name or an address; ["eth1", "eth2"]: one for each path of ST 2022-7
# path_skew_ms = 10                # how far two paths may be apart, at most 50; only frames with holes wait so long
video = "endoscope.sdp"            # a path or an http(s) URL
# metadata = "endoscope-metadata.sdp"   # or a list: the first describes the picture; "wss://..." carries the packets themselves
# metadata_authority = "plant-ca.crt"   # PEM; who vouches for wss:// servers; default: whom this machine trusts
# audio = "room.sdp"               # ST 2110-30 sound
# sound_for = "expert"             # who hears it: "expert", or "everyone". Voices tell who speaks and what they say of the patient
# audio_channels = [1, 2]          # which channels go left and right, or one for both; default: all, mixed down as the SDP's channel-order says
# receive = "auto"                 # auto: a packet ring where the kernel and CAP_NET_RAW allow it, else a socket; or "packet-ring", "socket"
# station = "ENDO3"                # what the worklist calls this theatre: scheduled station AE title, or station name

# [worklist]                       # the hospital's Modality Worklist; without this table none is asked
# host = "ris.hospital.example"
# port = 104
# ae_title = "RIS"                 # theirs
# calling_ae_title = "APPLIANCE"   # ours: enter it there, with this machine's address
# modality = ""                    # only cases of this modality, such as "ES"; default: all
# timeout_s = 10
# tls = false                      # true: DICOM over TLS, also with the three keys below
# ca_certificate = "hospital-ca.crt"   # who must have signed their certificate; default: whom this machine trusts
# certificate = "appliance.crt"    # ours, where they want one
# certificate_key = "appliance.key"

# [pacs]                           # the archive: snapshots go there, prior studies come from there; without this table there is neither
# dicomweb = "https://pacs.hospital.example/dicom-web"   # QIDO-RS, WADO-RS, STOW-RS; or host, port, ae_title as above: C-STORE, C-FIND, C-GET
# username = "appliance"           # of DICOMweb; or token = "..." for a bearer token
# password = "..."
# full_depth = true                # a source of more than 8 bits: keep all of them, as a second picture beside the endoscopic one, which has 8
# history_ms = 600                 # how far back a snapshot finds the very frame that was on the screen; costs memory for that many raw frames
# queue_mb = 4096                  # on disk in state_dir, for snapshots that wait for the PACS
"""
