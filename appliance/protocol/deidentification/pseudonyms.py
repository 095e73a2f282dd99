"""What stands for identifiers and times during one metadata session: pseudonyms by a secret key, and one secret shift. Made by engine.py.

Invariant: the same within a session, unrelated in the next; key and shift are never written anywhere, so nobody can go back.
"""
import hashlib
import re
import secrets
from datetime import datetime, timedelta

from appliance.clock import AudienceClock

WRAPS_MS = 2**31
"""A whole number of RTP wraps at 90, 48 and 96 kHz: moved by it, an instant keeps its RTP timestamp. 24.9 days."""
_SESSIONS = 146
"""Ten years of them."""
_KEY_OCTETS = 32
_SECOND_NS = 1_000_000_000
# A clock that was never set, or text in its place, is no time that could be shifted: these are the years 1992 to 2242.
_SECONDS_LEAST, _SECONDS_MOST = 22 * 31_557_600, 1 << 33
_DATE = re.compile(rb"[0-9]{8}")
_TIME = re.compile(rb"[0-9]{2}(?:[0-9]{2}(?:[0-9]{2}(?:\.[0-9]{1,6})?)?)?")
_DATE_TIME = re.compile(rb"([0-9]{8}(?:[0-9]{2}(?:[0-9]{2}(?:[0-9]{2}(?:\.[0-9]{1,6})?)?)?)?)([+-](?:0[0-9]|1[0-4])(?:00|15|30|45))?")
_NO_TIME = bytes(10)


class Pseudonyms:
    """Of one metadata session."""

    def __init__(self, clock: AudienceClock) -> None:
        """`clock`: the audience's. The session's own is behind it by a secret number of RTP wraps: its dates tell nobody's year or season."""
        self._key = secrets.token_bytes(_KEY_OCTETS)
        self._frames_more = secrets.randbits(16)
        shift_ms = clock.shift_ms - secrets.randbelow(_SESSIONS) * WRAPS_MS
        self._shift_ns, self._shift = shift_ms * 1_000_000, timedelta(milliseconds=shift_ms)

    def uuid(self, octets: bytes) -> bytes:
        """16 octets for an identifier of 16 octets: a UUID of version 8 (RFC 9562 section 5.8)."""
        digest = bytearray(hashlib.blake2b(octets, digest_size=16, key=self._key).digest())
        digest[6], digest[8] = digest[6] & 0x0F | 0x80, digest[8] & 0x3F | 0x80
        return bytes(digest)

    def uid(self, value: bytes) -> bytes:
        """For a UID, without its padding: a UUID as a decimal number (PS3.5 section B.2)."""
        return b"2.25.%d" % int.from_bytes(self.uuid(value), "big")

    def frame_number(self, value: bytes) -> bytes | None:
        """For a counter of 16 bits. A sender may count frames from the PTP epoch: its numbers would be real time, modulo some minutes."""
        return None if len(value) != 2 else (int.from_bytes(value, "little") + self._frames_more & 0xFFFF).to_bytes(2, "little")

    def frame_time(self, value: bytes) -> bytes:
        """For a PTP time of 48 bit seconds and 32 bit nanoseconds, as in (0034,0007); ten zeros for what is none."""
        seconds, nanoseconds = int.from_bytes(value[:6], "big"), int.from_bytes(value[6:], "big")
        if len(value) != len(_NO_TIME) or not _SECONDS_LEAST <= seconds < _SECONDS_MOST or nanoseconds >= _SECOND_NS:
            return _NO_TIME
        seconds, nanoseconds = divmod(seconds * _SECOND_NS + nanoseconds + self._shift_ns, _SECOND_NS)
        return seconds.to_bytes(6, "big") + nanoseconds.to_bytes(4, "big")

    def date(self, value: bytes, time: bytes) -> bytes | None:
        """For a DA; `time` is the TM that belongs to it, or empty. None if it is no date."""
        moment = _moment(value, time if _TIME.fullmatch(time) else b"") if _DATE.fullmatch(value) else None
        return self._told(moment, b"0" * 8)

    def time(self, value: bytes) -> bytes | None:
        """For a TM. None if it is no time."""
        moment = _moment(b"20000101", value) if _TIME.fullmatch(value) else None
        told = self._told(moment, b"0" * 8 + value)
        return told and told[8:]

    def date_time(self, value: bytes) -> bytes | None:
        """For a DT of a day at least; its offset from UTC stays. None if it is none."""
        match = _DATE_TIME.fullmatch(value)
        told = match and self._told(_moment(match[1][:8], match[1][8:]), match[1])
        return told and told + (match[2] or b"")

    def _told(self, moment: datetime | None, like: bytes) -> bytes | None:
        """The shifted moment, written as finely as `like` is."""
        try:
            return None if moment is None else (moment + self._shift).strftime("%Y%m%d%H%M%S.%f").rjust(21, "0").encode()[:len(like)]
        except OverflowError:
            return None


def _moment(date: bytes, time: bytes) -> datetime | None:
    """The moment of a date and a time that have the right form; None for the thirtieth of February, and the like."""
    whole, _, fraction = time.decode().partition(".")
    try:
        return datetime.strptime(date.decode() + whole.ljust(6, "0"), "%Y%m%d%H%M%S") + timedelta(microseconds=int(fraction.ljust(6, "0")))
    except ValueError:
        return None
