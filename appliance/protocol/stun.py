"""The little of STUN (RFC 8489) that sorting datagrams needs: whose connectivity check is this? Called by fanout.one_port.

Bytes in, text out. Authenticates nothing: that is the ICE agent's part, which gets the datagram next.
"""
import struct

_HEADER = struct.Struct("!HHI12s")
_ATTRIBUTE = struct.Struct("!HH")
_BINDING_REQUEST, _COOKIE, _USERNAME = 0x0001, 0x2112A442, 0x0006
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
