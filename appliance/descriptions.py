"""Session descriptions (SDP) from where the configuration says: files, and devices' web addresses. Called by wanted.py and check.py.

Every reading has a limit of time and size, and an error says what came instead of an SDP. Holds nothing; who reads again passes what it knows.
"""
import asyncio
import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit

from appliance.config import StreamConfig
from appliance.errors import ConfigurationError
from appliance.protocol import sdp
from appliance.runtime.plan import Flows

ANSWER_LIMIT_S = 5.0
"""For a device to answer whole, redirections included."""
BYTES_MAX = 64 * 1024
REDIRECTIONS_MAX = 3
AT_ONCE_MAX = 16
_READERS: dict[str, Callable[[str, str], sdp.Flow]] = {"video": sdp.video_flow, "metadata": sdp.metadata_flow, "audio": sdp.audio_flow}
"""How the SDP of each key of a stream is read."""
_CREDENTIALS = re.compile(r"(?<=://)[^/@]*@")
_REDIRECTIONS = (301, 302, 303, 307, 308)


@dataclass(frozen=True)
class Version:
    """What tells one state of an SDP from the next without reading it: a file's identity and times, or what its server named it."""

    file: tuple[int, ...] = ()
    etag: str = ""
    modified: str = ""


@dataclass(frozen=True)
class Description:
    """An SDP's text, and which version of it that is."""

    text: str
    version: Version = Version()


@dataclass
class Reading:
    """What was read for a whole configuration: flows of the streams that can begin; why others cannot; what a person has to mend."""

    flows: dict[str, Flows] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    """Streams that begin by themselves, once their device answers as it should."""
    problems: list[str] = field(default_factory=list)
    """Files that are missing or wrong."""


def is_url(place: str) -> bool:
    """Whether an SDP is read from a web address; else the place is a path."""
    return place.startswith(("http://", "https://"))


def is_websocket(place: str) -> bool:
    """Whether the place is no SDP's but that of the packets themselves."""
    return place.startswith(("ws://", "wss://"))


def shown(place: str) -> str:
    """The place as it may be logged: without a password."""
    return _CREDENTIALS.sub("", place) if is_url(place) else place


def places(stream: StreamConfig) -> dict[str, str]:
    """The SDPs that a stream names, by key: "video", "metadata", and "metadata 2" and so on where there are several. A WebSocket has none."""
    metadata = {f"metadata {number}" if number > 1 else "metadata": place for number, place in enumerate(stream.metadata, 1)}
    audio = {"audio": stream.audio} if stream.audio else {}
    return {"video": stream.video} | {key: place for key, place in metadata.items() if not is_websocket(place)} | audio


def flows_of(stream: StreamConfig, described: Mapping[str, sdp.Flow]) -> Flows:
    """A stream's flows from those that the SDPs of places() describe."""
    left = iter([flow for key, flow in described.items() if key.startswith("metadata")])
    metadata = tuple(sdp.websocket_metadata_flow(place) if is_websocket(place) else next(left) for place in stream.metadata)
    return Flows(described["video"], metadata, described.get("audio"))


def described_by(stream: StreamConfig, flows: Flows) -> dict[str, sdp.Flow]:
    """The other way round: the flow of each of places()."""
    return dict(zip(places(stream), (flows.video, *(flow for flow in flows.metadata if flow.url is None), flows.audio)))


def read_flows(stream: StreamConfig) -> Flows:
    """The flows of one stream. ConfigurationError if one cannot be read or received. Not within an event loop."""
    return asyncio.run(_read_stream(stream))


def read_all(streams: Iterable[StreamConfig]) -> Reading:
    """The flows of every stream, all at once. Not within an event loop."""
    return asyncio.run(gather(streams))


async def gather(streams: Iterable[StreamConfig]) -> Reading:
    """The same within an event loop."""
    reading, places_left = Reading(), asyncio.Semaphore(AT_ONCE_MAX)

    async def read_one(stream: StreamConfig) -> None:
        async with places_left:
            try:
                reading.flows[stream.name] = await _read_stream(stream)
            except ConfigurationError as error:
                remote = [place for place in places(stream).values() if is_url(place)]
                # A device that is off, or just starting, is nobody's mistake; a file is.
                if remote and all(any(shown(place) in problem for place in remote) for problem in error.problems):
                    reading.waiting[stream.name] = " ".join(error.problems)
                else:
                    reading.problems += error.problems

    async with asyncio.TaskGroup() as tasks:
        for stream in streams:
            tasks.create_task(read_one(stream))
    return reading


async def _read_stream(stream: StreamConfig) -> Flows:
    async def read_one(key: str, place: str) -> tuple[str, sdp.Flow | ConfigurationError]:
        try:
            return key, flow_of(key, place, (await read(place, f'stream "{stream.name}", {key}')).text)
        except ConfigurationError as error:
            return key, error

    found = dict(await asyncio.gather(*(read_one(key, place) for key, place in places(stream).items())))
    problems = [problem for found_one in found.values() if isinstance(found_one, ConfigurationError) for problem in found_one.problems]
    audio = found.get("audio")
    if isinstance(audio, sdp.AudioFlow) and max(stream.audio_channels, default=1) > audio.channels:
        problems += ConfigurationError(f'stream "{stream.name}", audio_channels', f"channels of 1 to {audio.channels}, which are all that {shown(stream.audio)} has",
                                       ", ".join(map(str, stream.audio_channels))).problems
    if problems:
        raise ConfigurationError.of(problems)
    return flows_of(stream, found)


def flow_of(key: str, place: str, text: str) -> sdp.Flow:
    """The flow of that key which an SDP's text describes. SdpError names place, line and reason."""
    return _READERS[key.split(" ")[0]](text, shown(place))


async def read(place: str, where: str, known: Version | None = None) -> Description | None:
    """An SDP as it is now; None if it is still the `known` version. ConfigurationError, which begins with `where`, if it cannot be had."""
    if is_url(place):
        return await _read_url(place, where, known)
    return read_file(place, where, known)


def read_file(path: str, where: str, known: Version | None = None) -> Description | None:
    """The same of a file."""
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise OSError("it is not a regular file")
            version = Version((status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
            if version == known:
                return None
            content = file.read(BYTES_MAX + 1)
    except OSError as error:
        raise ConfigurationError(where, f"a readable SDP at {path}", error.strerror or str(error), "Check the path and its rights.") from error
    return Description(_text(content, path, where), version)


def file_version(path: str) -> Version | None:
    """Which version of a file lies there now; None if there is none that can be read."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return Version((status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))


def _open_at_once(path: str, flags: int) -> int:
    """An opener that does not wait at a FIFO for somebody to write to it."""
    return os.open(path, flags | os.O_NONBLOCK)


def _text(content: bytes, place: str, where: str) -> str:
    if len(content) > BYTES_MAX:
        raise ConfigurationError(where, f"an SDP of at most {BYTES_MAX} octets at {place}", "more", "Is this the right address?")
    if content.lstrip()[:1] == b"<":
        raise ConfigurationError(where, f"an SDP at {place}", "a web page or XML", "Open the address in a browser: the SDP may lie at another one, "
                                 "or behind a login.")
    return content.decode("utf-8", "replace")


async def _read_url(place: str, where: str, known: Version | None) -> Description | None:
    import aiohttp  # a fraction of a second that those need not wait who read files alone

    def refusal(got: str, remedy: str) -> ConfigurationError:
        return ConfigurationError(where, f"an SDP at {shown(place)}", got, remedy)

    try:
        async with asyncio.timeout(ANSWER_LIMIT_S):
            # No proxy of the hospital: aiohttp asks none unless told to. Compressed answers are not asked for: their size would not be known.
            async with aiohttp.ClientSession(auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()) as client:
                return await _get(client, place, where, known, refusal)
    except TimeoutError as error:
        raise refusal(f"no whole answer within {ANSWER_LIMIT_S:g} s", "Is the device on, and is this its address?") from error
    except aiohttp.ClientConnectorCertificateError as error:
        raise refusal(f"a certificate that this machine does not trust ({error.certificate_error})",
                      "Install the certificate authority of the plant on this machine (update-ca-certificates), or use the device's http:// address.") from error
    except aiohttp.ClientConnectorSSLError as error:
        raise refusal(f"no TLS ({error.strerror or error})", "Does the device speak https:// on this port? Try http://.") from error
    except aiohttp.ClientConnectorDNSError as error:
        raise refusal("a host name that nobody knows", "Write the device's address in digits, or mend the name service.") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise refusal(f"no answer ({_CREDENTIALS.sub('', str(error)) or type(error).__name__})", "Is the device on, and is this its address?") from error


async def _get(client, place: str, where: str, known: Version | None, refusal: Callable[[str, str], ConfigurationError]) -> Description | None:
    headers = {"Accept": "application/sdp, text/plain;q=0.5, */*;q=0.1", "Accept-Encoding": "identity"}
    if known is not None and known.etag:
        headers["If-None-Match"] = known.etag
    if known is not None and known.modified:
        headers["If-Modified-Since"] = known.modified
    first = place
    for _ in range(REDIRECTIONS_MAX + 1):
        async with client.get(place, headers=headers, allow_redirects=False) as answer:
            if answer.status in _REDIRECTIONS and "Location" in answer.headers:
                place = _redirected(place, answer.headers["Location"], refusal)
                continue
            if answer.status == 304 and known is not None:
                return None
            return await _content(answer, first, where, refusal)
    raise refusal(f"more than {REDIRECTIONS_MAX} redirections", "Name the address that it ends at.")


def _redirected(place: str, location: str, refusal: Callable[[str, str], ConfigurationError]) -> str:
    target = urljoin(place, location)
    if urlsplit(target).scheme not in ("http", "https") or (place.startswith("https://") and not target.startswith("https://")):
        raise refusal(f"a redirection to {shown(target)[:200]}", "Name the right address yourself, if you trust it.")
    return target


async def _content(answer, place: str, where: str, refusal: Callable[[str, str], ConfigurationError]) -> Description:
    if answer.status in (401, 403):
        raise refusal(f"{answer.status} {answer.reason}: the device wants a login", "Write http://name:password@... if it takes one so, or save the SDP to a file.")
    if answer.status != 200:
        raise refusal(f"{answer.status} {answer.reason}", "Open the address in a browser: the device's pages name the right one.")
    if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise refusal("a compressed answer, which was not asked for", "Save the SDP to a file.")
    if answer.content_type == "text/html":
        raise refusal("a web page", "Open the address in a browser: the SDP may lie at another one, or behind a login.")
    content = b""
    while len(content) <= BYTES_MAX and (piece := await answer.content.read(BYTES_MAX + 1 - len(content))):
        content += piece
    text = _text(content, shown(place), where)
    if not text.strip():
        raise refusal("an empty answer", "The device may be starting; it is asked again.")
    return Description(text, Version(etag=answer.headers.get("ETag", ""), modified=answer.headers.get("Last-Modified", "")))
