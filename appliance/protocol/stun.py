"""The little of STUN (RFC 8489) that every viewer needs all the time: whom a check calls, the answer to a plain one, and consent (RFC 7675).

Called by fanout.one_port and fanout.consent. Bytes in, bytes out. Judges nothing that is out of the ordinary: that is the ICE agent's part.
"""
import hmac
import ipaddress
import struct
import zlib

_HEADER = struct.Struct("!HHI12s")
_KIND = struct.Struct("!HHI")
_ATTRIBUTE = struct.Struct("!HH")
_ADDRESS = struct.Struct("!BBH")
_BINDING_REQUEST, _BINDING_RESPONSE, _COOKIE = 0x0001, 0x0101, 0x2112A442
_USERNAME, _MESSAGE_INTEGRITY, _XOR_MAPPED_ADDRESS, _PRIORITY, _USE_CANDIDATE = 0x0006, 0x0008, 0x0020, 0x0024, 0x0025
_FINGERPRINT, _ICE_CONTROLLED, _ICE_CONTROLLING = 0x8028, 0x8029, 0x802A
_OPTIONAL = 0x8000  # attributes from here on may be passed over by who does not know them (RFC 8489 section 14)
_TRANSACTION_OCTETS, _INTEGRITY_OCTETS, _INTEGRITY_SIZE, _FINGERPRINT_SIZE = 12, 20, 24, 8
_FINGERPRINT_HEAD, _INTEGRITY_HEAD = _ATTRIBUTE.pack(_FINGERPRINT, 4), _ATTRIBUTE.pack(_MESSAGE_INTEGRITY, _INTEGRITY_OCTETS)
_FINGERPRINT_XOR = 0x5354554E
_IPV4, _IPV6, _IPV6_OCTETS = 1, 2, 16
_ATTRIBUTES_MAX = 16  # a check of a browser has six to nine


def called_fragment(datagram: bytes) -> str:
    """The username fragment of whom a Binding request calls (the part of USERNAME before the colon, RFC 8445 section 7.2.2); "" if it is none."""
    if len(datagram) < _HEADER.size:
        return ""
    kind, length, cookie, _ = _HEADER.unpack_from(datagram)
    if kind != _BINDING_REQUEST or cookie != _COOKIE or length + _HEADER.size != len(datagram):
        return ""
    at = _HEADER.size
    for _ in range(_ATTRIBUTES_MAX):
        if at + _ATTRIBUTE.size > len(datagram):
            return ""
        number, size = _ATTRIBUTE.unpack_from(datagram, at)
        at += _ATTRIBUTE.size
        if number == _USERNAME:
            name, colon, _ = datagram[at:at + size].partition(b":")
            return name.decode() if colon and name.isascii() and len(datagram) >= at + size else ""
        at += size + -size % 4
    return ""


class Answers:
    """Answers to the checks that a viewer, which controls, sends from one address."""

    def __init__(self, username: str, password: str, address: tuple[str, int]) -> None:
        """`username`: both fragments, ours first; `password`: ours; `address`: of the viewer. ValueError if that is no IP address."""
        packed, port = ipaddress.ip_address(address[0]).packed, address[1]
        self._username, self._password = username.encode(), password.encode()
        self._is_ipv6 = len(packed) == _IPV6_OCTETS
        self._head = _ATTRIBUTE.pack(_XOR_MAPPED_ADDRESS, 4 + len(packed)) + _ADDRESS.pack(0, _IPV6 if self._is_ipv6 else _IPV4, port ^ _COOKIE >> 16)
        self._host = int.from_bytes(packed)
        self._mapped = self._head + (self._host ^ _COOKIE).to_bytes(4) if not self._is_ipv6 else b""

    def answer(self, datagram: bytes, selected: bool) -> bytes | None:
        """The response to a right check that calls for nothing else; None for all that the ICE agent must see.

        `selected`: whether data flows on this path, so that the viewer's wish for that (USE-CANDIDATE) is no news.
        """
        found = _authentic(datagram, _BINDING_REQUEST, self._password)
        if found is None or found.pop(_USERNAME, None) != self._username or len(found.pop(_PRIORITY, b"")) != 4 or _ICE_CONTROLLED in found:
            return None
        if found.pop(_USE_CANDIDATE, None) is not None and not selected:
            return None
        if any(number < _OPTIONAL for number in found):
            return None
        transaction = datagram[8:_HEADER.size]
        return _signed(_BINDING_RESPONSE, transaction, self._mapped or self._mapped_for(transaction), self._password)

    def _mapped_for(self, transaction: bytes) -> bytes:
        """IPv6 addresses are hidden with the transaction's number too (RFC 8489 section 14.2)."""
        return self._head + (self._host ^ (_COOKIE << 8 * _TRANSACTION_OCTETS | int.from_bytes(transaction))).to_bytes(_IPV6_OCTETS)


class Questions:
    """Our requests for a viewer's consent (RFC 7675 section 5.1): checks as RFC 8445 section 7.2.2 has them, without a nomination."""

    def __init__(self, username: str, password: str, priority: int, tie_breaker: int, controlling: bool = False) -> None:
        """`username`: both fragments, the viewer's first; `password`: the viewer's; `tie_breaker`: 64 bits, of our role."""
        name, self._password = username.encode(), password.encode()
        self._attributes = b"".join((_ATTRIBUTE.pack(_USERNAME, len(name)), name, bytes(-len(name) % 4),
                                     _ATTRIBUTE.pack(_PRIORITY, 4), priority.to_bytes(4),
                                     _ATTRIBUTE.pack(_ICE_CONTROLLING if controlling else _ICE_CONTROLLED, 8), tie_breaker.to_bytes(8)))

    def request(self, transaction: bytes) -> bytes:
        """A request; `transaction`: 12 octets that nobody can guess."""
        return _signed(_BINDING_REQUEST, transaction, self._attributes, self._password)

    def grants(self, datagram: bytes, transaction: bytes) -> bool:
        """Whether this is the viewer's own yes to that request."""
        return datagram[8:_HEADER.size] == transaction and _authentic(datagram, _BINDING_RESPONSE, self._password) is not None


def _authentic(datagram: bytes, kind: int, password: bytes) -> dict[int, bytes] | None:
    """Attributes before MESSAGE-INTEGRITY if that and FINGERPRINT (where there is one) are right and end the message, and none comes twice."""
    end = len(datagram)
    if end < _HEADER.size or datagram[:8] != _KIND.pack(kind, end - _HEADER.size, _COOKIE):
        return None
    found: dict[int, bytes] = {}
    at = _HEADER.size
    while at + _INTEGRITY_SIZE <= end:
        number, size = _ATTRIBUTE.unpack_from(datagram, at)
        if number == _MESSAGE_INTEGRITY:
            return found if size == _INTEGRITY_OCTETS and _is_intact(datagram, at, password) else None
        if number in found or len(found) == _ATTRIBUTES_MAX:
            return None
        at += _ATTRIBUTE.size
        found[number] = datagram[at:at + size]
        at += size + -size % 4
    return None


def _is_intact(datagram: bytes, integrity_at: int, password: bytes) -> bool:
    after = integrity_at + _INTEGRITY_SIZE
    if after != len(datagram):
        mark = _FINGERPRINT_HEAD + (zlib.crc32(datagram[:after]) ^ _FINGERPRINT_XOR).to_bytes(4)
        if datagram[after:] != mark:
            return False
    # What follows the integrity's own attribute is not counted in the length that it covers (RFC 8489 section 14.5).
    covered = datagram[:2] + (after - _HEADER.size).to_bytes(2) + datagram[4:integrity_at]
    return hmac.compare_digest(hmac.digest(password, covered, "sha1"), datagram[integrity_at + _ATTRIBUTE.size:after])


def _signed(kind: int, transaction: bytes, attributes: bytes, password: bytes) -> bytes:
    """A message with MESSAGE-INTEGRITY and FINGERPRINT."""
    length = len(attributes) + _INTEGRITY_SIZE
    body = transaction + attributes
    code = hmac.digest(password, _KIND.pack(kind, length, _COOKIE) + body, "sha1")
    message = _KIND.pack(kind, length + _FINGERPRINT_SIZE, _COOKIE) + body + _INTEGRITY_HEAD + code
    return message + _FINGERPRINT_HEAD + (zlib.crc32(message) ^ _FINGERPRINT_XOR).to_bytes(4)
