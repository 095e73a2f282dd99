"""`appliance check`: everything that would keep a configuration from running, found at once and without starting anything.

Reads, binds and lets go; changes nothing. Exit status 2 with every problem named, 0 with one line on what would run.
"""
import argparse
import errno
import ipaddress
import socket
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from appliance import descriptions, status, tokens
from appliance.config import Config, EncoderConfig, StreamConfig, is_address, join_address, load
from appliance.errors import ConfigurationError
from appliance.gateway import certificate, pages
from appliance.resources import check_memory, listen_tcp
from appliance.protocol.sdp import VideoFlow
from appliance.runtime.plan import Flows
from appliance.topology import Topology, lay_out

_NETWORK = Path("/sys/class/net")
_IFF_UP = 1  # Source: netdevice(7)


def run(options: argparse.Namespace) -> int:
    """Prints what would run; ConfigurationError with every problem."""
    config = load(options.config)
    topology, waiting = check(config)
    if waiting:
        raise ConfigurationError.of(list(waiting.values()))
    server = config.server
    print(f"{config.path}: good. HTTPS on {join_address(server.listen_host, server.listen_port)}, {len(topology.stages)} stages:")
    for stream in config.streams:
        flows = topology.flows[stream.name]
        legs = " and ".join(f"{leg.group}:{leg.port} on {stream.interface_of(number)}" for number, leg in enumerate(flows.video.legs))
        print(f"  {stream.name}: {flows.video.format} from {legs}"
              + (f", metadata from {' and '.join(flow.place for flow in flows.metadata)}" if flows.metadata else ", no metadata")
              + (f", sound from {flows.audio.group}:{flows.audio.port} for {'everyone' if stream.sound_for == 'everyone' else 'experts'}" if flows.audio
                 else ", no sound"))
        for note in notes(stream, topology):
            print(f"    note: {note}")
    for note in state_notes(config) + encoder_notes(config.encoder) + hospital_notes(config):
        print(f"  note: {note}")
    return 0


def state_notes(config: Config) -> list[str]:
    """What is not as it should be where keys and certificate lie, and keeps nothing from running."""
    folder = config.server.state_dir
    open_to = [f"others than its owner may look into {folder}; run: chmod 700 {folder}"] if folder.exists() and folder.stat().st_mode & 0o055 else []
    return open_to + [note for note in (certificate.check(config.server),) if note]


def hospital_notes(config: Config) -> list[str]:
    """Whether worklist and PACS answer; the picture goes on without them."""
    if not config.hospital:
        return []
    from appliance.hospital import reach  # a second that only a box with a hospital behind it takes

    return reach.notes(config)


def encoder_notes(encoder: EncoderConfig) -> list[str]:
    """Levels that cost as much as the one above: a viewer on a slow network gains nothing by being moved there."""
    rates = [("bitrate_kbps", encoder.bitrate_kbps), ("bitrate_half_kbps", encoder.bitrate_half_kbps), ("bitrate_small_kbps", encoder.bitrate_small_kbps)]
    return [f"[encoder] {humbler} = {rate} is not below {better} = {above}: a viewer on a slow network gains nothing by getting less"
            for (better, above), (humbler, rate) in zip(rates, rates[1:]) if rate >= above]


def notes(stream: StreamConfig, topology: Topology) -> list[str]:
    """What a person should know of a stream that runs all the same."""
    flows = topology.flows[stream.name]
    return [note for flow in (flows.video, *flows.metadata, flows.audio) if flow for note in flow.notes] + _path_notes(stream, flows.video)


def _path_notes(stream: StreamConfig, video: VideoFlow) -> list[str]:
    """What keeps two paths (ST 2022-7) from protecting the picture as they could."""
    if video.second is None:
        return ["two interfaces are configured, but the SDP of the video describes one path: the second interface is not used"] * (len(stream.interfaces) > 1)
    if len(stream.interfaces) == 1:
        return [f'both paths of the video (ST 2022-7) come in by {stream.interface}, which may take both: interface = ["FIRST", "SECOND"] receives each by its own']
    broken: list[str] = []
    for name in stream.interfaces:
        with _noting(broken):
            check_interface(stream, name)
    return [f"the picture is not protected: {problem}" for problem in broken]


def check(config: Config) -> tuple[Topology, dict[str, str]]:
    """The topology that would run, and the streams that wait for a device to answer, each with the reason; ConfigurationError with every problem there is."""
    reading = descriptions.read_all(config.streams)
    problems = reading.problems + unusable(config, reading.flows, config.streams)
    topology = lay_out(config, reading.flows)
    for check_one in (_check_ports, _check_media_addresses, _check_media_ports, _check_state_dir, _check_keys, _check_viewer):
        with _noting(problems):
            check_one(config)
    if not reading.problems:
        with _noting(problems):
            check_memory(topology)
    if problems:
        raise ConfigurationError.of(problems)
    return topology, reading.waiting


def unusable(_: Config, flows: Mapping[str, Flows], streams: Sequence[StreamConfig]) -> list[str]:
    """What keeps these streams, with these flows where they are known, from being received on this machine; in sentences."""
    problems: list[str] = []
    for stream in streams:
        broken: list[str] = []
        for name in stream.interfaces:
            with _noting(broken):
                check_interface(stream, name)
        if len(broken) == len(stream.interfaces):  # one path is enough to begin; notes() says what is wrong with the other
            problems += broken
        found = flows.get(stream.name)
        flows_of = (*(("video", leg) for leg in found.video.legs), *(("metadata", flow) for flow in found.metadata if flow.url is None),
                    *(("audio", leg) for leg in (found.audio.legs if found.audio else ()))) if found else ()
        for key, flow in flows_of:
            if not ipaddress.ip_address(flow.group).is_multicast:
                with _noting(problems):
                    _check_own_address(f'stream "{stream.name}", {key}: the address in its c= line', flow.group)
    return problems


@contextmanager
def _noting(problems: list[str]) -> Iterator[None]:
    try:
        yield
    except ConfigurationError as error:
        problems += error.problems


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    """ConfigurationError in place of what looking into a folder raises that belongs to somebody else."""
    try:
        yield
    except OSError as error:
        remedy = "Run this command as the user that the appliance runs as, or as root."
        raise ConfigurationError(f"[server] state_dir {folder}", "a folder that this user may look into", error.strerror or str(error), remedy) from error


def check_interface(stream: StreamConfig, name: str) -> None:
    """ConfigurationError if this interface of the stream is not there, or is down."""
    where = f'stream "{stream.name}", interface'
    if is_address(name):
        _check_own_address(where, name)
        return
    folder = _NETWORK / name
    if not folder.exists():
        found = ", ".join(sorted(path.name for path in _NETWORK.iterdir() if path.is_dir()))
        raise ConfigurationError(where, f"one of {found}", repr(name), "'ip link' shows what the machine has.")
    if not int((folder / "flags").read_text(), 16) & _IFF_UP:
        raise ConfigurationError(where, "an interface that is up", f"{name!r}, which is down", f"Run: ip link set {name} up")


def _check_own_address(where: str, address: str) -> None:
    try:
        family, _, _, _, place = socket.getaddrinfo(address, 0, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind(place)
    except OSError as error:
        raise ConfigurationError(where, "an address of this machine", f"{address} ({error.strerror})", "'ip address' shows what the machine has.") from error


def _check_ports(config: Config) -> None:
    if status.health(status.url_of(config)) is not None:
        return  # the appliance runs with this configuration: the ports are in use by itself
    problems: list[str] = []
    server = config.server
    for host, port, key in ((server.listen_host, server.listen_port, "listen"), (server.metrics_host, server.metrics_port, "metrics")):
        with _noting(problems):
            listen_tcp(host, port, f"[server] {key}").close()
    if problems:
        raise ConfigurationError.of(problems)


def _check_media_addresses(config: Config) -> None:
    problems: list[str] = []
    for address in config.server.media_addresses:
        with _noting(problems):
            _check_own_address("[server] media_addresses", address)
    if problems:
        raise ConfigurationError.of(problems)


def _check_media_ports(config: Config) -> None:
    server, ports = config.server, config.server.media_ports
    if ports is None or status.health(status.url_of(config)) is not None:
        return  # the system chooses, or the appliance that runs uses them itself
    needed = 1 if ports.count == 1 else server.viewers_max
    for address in server.media_addresses or ("0.0.0.0", "::"):
        free = sum(_is_free(address, port) for port in range(ports.first, ports.last + 1))
        if free < needed:
            raise ConfigurationError("[server] media_ports", f"{needed} free UDP port(s) on {address}", f"{free} of {ports}",
                                     "'ss -lunp' shows which programs have them; stop those, or choose others.")


def _is_free(address: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        if ":" in address:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE  # an address that is not ours is another check's finding
    return True


def _check_state_dir(config: Config) -> None:
    folder = config.server.state_dir
    remedy = "Create it for the appliance's user, or name another one."
    with _readable(folder):
        existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        raise ConfigurationError(f"[server] state_dir {folder}", "a folder", f"{existing}, which is a file", remedy)
    mode = existing.stat().st_mode
    if existing == folder and mode & 0o022:
        raise ConfigurationError(f"[server] state_dir {folder}", "a folder that its owner alone may write to",
                                 f"mode {stat.S_IMODE(mode):o}, with which others can put keys of their own there", f"Run: chmod 700 {folder}")
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise ConfigurationError(f"[server] state_dir {folder}", "a folder that this user may write to", error.strerror or str(error), remedy) from error


def _check_keys(config: Config) -> None:
    """The keys that are there already; missing ones are made on the first run."""
    server, key = config.server, config.server.state_dir / "token.key"
    with _readable(server.state_dir):
        certificate.check(server)
        mode = key.stat().st_mode if key.exists() else None
    if mode is not None:
        tokens.signing_key(server.state_dir)
        if mode & 0o077:
            raise ConfigurationError(str(key), "a key that only its owner can read", "one that others can read too", f"Run: chmod 600 {key}")


def _check_viewer(_: Config) -> None:
    if not pages.built():
        raise ConfigurationError("viewer", f"the built viewer in {pages.DIST}", "none", "Run 'make build' in the appliance's folder.")
