"""The lines of an SDP file (RFC 8866), sorted into a session part and its media sections; sdp.py makes flows of them.

Every line keeps its number and text, so that each refusal can name it. Tolerant of what real senders write; knows nothing of video.
"""
import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from appliance.errors import SdpError

TEXT_CHARACTERS_MAX = 65_536
LINES_MAX = 2_000
MEDIA_MAX = 64

_LINE = re.compile(r"([A-Za-z])\s?=(.*)", re.DOTALL)
_DIGITS = re.compile(r"[0-9]{1,10}")


@dataclass(frozen=True)
class Line:
    """One line: its number from 1 (of its first physical line), its type letter, its value and the file it is from."""

    source: str
    number: int
    letter: str
    value: str

    @property
    def where(self) -> str:
        """File, line number and the text itself, for a message."""
        text = f"{self.letter}={self.value}"
        return f"{self.source}, line {self.number} ({text[:157] + '...' if len(text) > 160 else text})"

    def refuse(self, expected: str, got: str, remedy: str = "") -> SdpError:
        """The error that names this line; the caller raises it."""
        return SdpError(self.where, expected, got, remedy)

    @cached_property
    def attribute(self) -> tuple[str, str]:
        """Name (lower case) and value of an a= line; the value is "" for a flag. Split once: an offer's lines are asked for 700 times."""
        name, _, value = self.value.partition(":")
        return name.strip().lower(), value.strip()


@dataclass
class Section:
    """The session part, or what follows one m= line."""

    lines: list[Line] = field(default_factory=list)

    def all(self, letter: str) -> Iterator[Line]:
        """The lines of one type."""
        return (line for line in self.lines if line.letter == letter)

    def attributes(self, *names: str) -> Iterator[tuple[str, Line]]:
        """Value and line of each a= line with one of these names."""
        for line in self.all("a"):
            name, value = line.attribute
            if name in names:
                yield value, line


@dataclass(kw_only=True)
class Media(Section):
    """One media section: the m= line's kind, port, protocol and RTP payload types."""

    line: Line
    kind: str
    port: int
    protocol: str
    payload_types: tuple[int, ...]

    @property
    def mid(self) -> str:
        """Name of the section (RFC 5888), "" without one."""
        return next((value for value, _ in self.attributes("mid")), "")

    @property
    def payload_type(self) -> int:
        """The payload type that its packets carry: the first of the m= line. Raises SdpError without one."""
        if not self.payload_types:
            raise self.line.refuse("an RTP payload type of 0 to 127 at the end", "none")
        return self.payload_types[0]

    def encoding(self) -> tuple[str, int, str, Line]:
        """Name, clock rate in Hz (0 if absent), what follows it ("2" of L24/48000/2) and the rtpmap's line.

        The map for the m= line's payload type; else the only map there is (some senders write two different numbers).
        Raises SdpError without one.
        """
        maps = {}
        for value, line in self.attributes("rtpmap"):
            number, _, coding = value.partition(" ")
            maps[number] = (coding.strip(), line)
        found = maps.get(str(self.payload_type)) or (next(iter(maps.values())) if len(maps) == 1 else None)
        if found is None:
            raise self.line.refuse(f"an a=rtpmap:{self.payload_type} line under it", f"{len(maps)} for other payload types" if maps else "none",
                                   "Without it the coding of the flow is unknown; ask the sender for a complete SDP.")
        name, _, rest = found[0].partition("/")
        rate, _, more = rest.partition("/")
        return name.strip(), int(rate) if _DIGITS.fullmatch(rate.strip()) else 0, more.strip(), found[1]

    def parameters(self) -> tuple[dict[str, str], Line]:
        """The fmtp parameters (names in lower case, a flag's value "") and their line, or {} and the m= line."""
        candidates = list(self.attributes("fmtp"))
        chosen = [(v, line) for v, line in candidates if v.split(" ")[0] == str(self.payload_type)] or candidates[:1]
        if not chosen:
            return {}, self.line
        value, line = chosen[0]
        found: dict[str, str] = {}
        # Flags are split at blanks as well: some senders write `interlace segmented` without the semicolon.
        spaced = " ".join(value.partition(" ")[2].replace(";", " ").split())
        for word in re.sub(" ?= ?", "=", spaced).split(" "):
            name, _, text = word.partition("=")
            found.setdefault(name.lower(), text.strip('"'))
        return found, line


@dataclass(kw_only=True)
class Session(Section):
    """A parsed SDP file."""

    source: str
    media: list[Media] = field(default_factory=list)

    @property
    def title(self) -> str:
        """The session's name, "" where it is the placeholder `-`."""
        name = next((line.value.strip() for line in self.all("s")), "")
        return "" if name == "-" else name

    def duplicates(self) -> list[list[str]]:
        """The mids of each a=group:DUP (RFC 7104): legs that carry the same flow."""
        groups = (value.split() for value, _ in self.attributes("group"))
        return [words[1:] for words in groups if words and words[0].upper() == "DUP"]


def parse_session(text: str, source: str) -> Session:
    """The file's lines in their sections; `source` (a path or URL) goes into messages. Raises SdpError."""
    if len(text) > TEXT_CHARACTERS_MAX:
        raise SdpError(source, f"an SDP file of at most {TEXT_CHARACTERS_MAX} characters", f"{len(text)}")
    session = Session(source=source)
    section: Section = session
    for line in _lines(text, source):
        if line.letter == "v" and line.value.strip() != "0":
            raise line.refuse("v=0, the only version of SDP", f"v={line.value}", "Check that this is a Session Description.")
        if line.letter == "m":
            if len(session.media) == MEDIA_MAX:
                raise line.refuse(f"at most {MEDIA_MAX} media sections", "more")
            section = _media(line)
            session.media.append(section)
        else:
            section.lines.append(line)
    if not session.media:
        last = session.lines[-1].where if session.lines else source
        raise SdpError(last, "an m= line (a flow)", "nothing more" if session.lines else "nothing",
                       "Export the SDP of one sender's flow and name that file.")
    return session


def _lines(text: str, source: str) -> Iterator[Line]:
    physical = re.split(r"\r\n|\n|\r", text.removeprefix("\ufeff"))
    if len(physical) > LINES_MAX:
        raise SdpError(source, f"an SDP file of at most {LINES_MAX} lines", f"{len(physical)}")
    pending, first = "", 0
    for number, raw in enumerate(physical, 1):
        first = first if pending else number
        joined = (pending + raw).strip()
        # A backslash at the end continues a line in documents and, copied from there, in files.
        pending = joined[:-1] if joined.endswith("\\") and number < len(physical) else ""
        if pending or not joined:
            continue
        match = _LINE.fullmatch(joined)
        if match is None:
            raise SdpError(f"{source}, line {first} ({joined[:80]})", "a line like a=value", "something else",
                           "Check that this file is an SDP file and was not cut or wrapped.")
        yield Line(source, first, match[1].lower(), match[2].strip())


def _media(line: Line) -> Media:
    words = line.value.split()
    if len(words) < 3:
        raise line.refuse("m=<kind> <port> <protocol> <payload type>", f"{len(words)} words")
    port = words[1].split("/")[0]
    if not _DIGITS.fullmatch(port) or int(port) > 65_535:
        raise line.refuse("a UDP port of 1 to 65535", words[1])
    formats = [int(word) for word in words[3:] if _DIGITS.fullmatch(word) and int(word) < 128]
    return Media(line=line, kind=words[0].lower(), port=int(port), protocol=words[2].upper(), payload_types=tuple(formats))


def connection(session: Session, media: Media) -> str:
    """The address that the flow is sent to, as text: the media section's c= line, else the session's. Raises SdpError."""
    line = next(media.all("c"), None) or next(session.all("c"), None)
    if line is None:
        raise media.line.refuse("a c= line with the flow's address, under it or at session level", "none",
                                "Add c=IN IP4 <group>/<ttl>.")
    words = line.value.split()
    text = words[2].split("/")[0] if len(words) == 3 else ""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise line.refuse("c=IN IP4 <address>[/<ttl>] with a numeric address", line.value) from None
    if address.is_unspecified:
        raise line.refuse("the flow's multicast group or this machine's address", text)
    return str(address)


def second_source(session: Session, media: Media, group: str) -> str | None:
    """The second sender that the source filter names: where both send the same packets (RFC 7104 section 3.2), those are two paths."""
    for value, _ in [*media.attributes("source-filter"), *session.attributes("source-filter")]:
        words = value.split()
        if len(words) == 6 and words[0].lower() == "incl" and words[3] in ("*", group):
            return str(ipaddress.ip_address(words[5]))  # source_filter() has refused what is no address
    return None


def source_filter(session: Session, media: Media, group: str, notes: list[str]) -> str | None:
    """The sender's address for a source-specific join (RFC 4570), or None. What could not be used goes into `notes`."""
    for value, line in [*media.attributes("source-filter"), *session.attributes("source-filter")]:
        words = value.split()
        if len(words) < 5 or words[0].lower() != "incl":
            notes.append(f"line {line.number}: source filter not used ({value})")
            continue
        if words[3] not in ("*", group):
            continue
        try:
            sources = [str(ipaddress.ip_address(word)) for word in words[4:]]
        except ValueError:
            raise line.refuse("numeric sender addresses in the source filter", value) from None
        if len(sources) > 1:
            notes.append(f"line {line.number}: joined from {sources[0]} only, the filter also names {', '.join(sources[1:])}")
        return sources[0]
    return None
