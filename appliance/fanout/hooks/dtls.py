"""DTLS of one viewer, on aiortc and pyOpenSSL: we are the server, AES-GCM first; SRTP keys for the C fan-out, SRTCP and data for us.

Made by fanout.session. aiortc drives the handshake; from then on datagrams are taken as they come, and C works on pyOpenSSL's connection.
"""
import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

import pylibsrtp
from aiortc import rtcdtlstransport
from aiortc.rtcdtlstransport import RTCCertificate, RTCDtlsFingerprint, RTCDtlsParameters, RTCDtlsTransport
from cryptography.hazmat.bindings._rust import _openssl
from OpenSSL import SSL

from appliance.fanout.hooks.ice import IceAgent
from appliance.fanout.hooks.peer import Peer
from cext.messages import Link

# The first that the viewer has too is taken. Measured: AES-GCM is 2.4 times cheaper a packet than AES-CM with HMAC-SHA1.
SRTP_PROFILES = (rtcdtlstransport.SRTP_AEAD_AES_128_GCM, rtcdtlstransport.SRTP_AES128_CM_SHA1_80)
_PROFILE_NUMBERS = {b"SRTP_AEAD_AES_128_GCM": 0x0007, b"SRTP_AES128_CM_SHA1_80": 0x0001}  # RFC 7714 section 14.2, RFC 5764 section 4.1.2
_SERVER = 1  # whose keys come second in the exported material
# What C calls of cryptography's own libssl, whose objects pyOpenSSL's are; the system's libssl would not know them.
_LIBRARY_FUNCTIONS = ("SSL_write", "SSL_read", "SSL_get_error", "ERR_clear_error", "BIO_write", "BIO_read")
_SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class MediaKeys:
    """What SRTP towards the viewer needs (RFC 5764 section 4.2)."""

    profile: int
    key: bytes
    salt: bytes


class Certificate(RTCCertificate):
    """One DTLS certificate and TLS context for all viewers of a worker: making a context costs half a millisecond a join."""

    _shared: SSL.Context | None = None

    @classmethod
    def make(cls) -> "Certificate":
        """A new certificate, valid for 30 days."""
        certificate = cls.generateCertificate()
        certificate._create_ssl_context(SRTP_PROFILES)
        return certificate

    def _create_ssl_context(self, srtp_profiles: Iterable[rtcdtlstransport.SRTPProtectionProfile]) -> SSL.Context:
        if self._shared is None:
            self._shared = super()._create_ssl_context(list(srtp_profiles))
        return self._shared

    @property
    def fingerprint(self) -> str:
        """As the SDP writes it."""
        return f"sha-256 {rtcdtlstransport.certificate_digest(self._cert, 'sha-256')}"


class DtlsTransport(RTCDtlsTransport):
    """The DTLS server of one viewer."""

    def __init__(self, ice: IceAgent, certificate: Certificate, peer: Peer) -> None:
        super().__init__(ice, [certificate])
        self._peer = peer
        self._srtp_profiles = list(SRTP_PROFILES)
        self._set_role("server")
        self.link: Link | None = None

    async def handshake(self, fingerprints: Iterable[tuple[str, str]]) -> None:
        """Waits for the viewer's hello and finishes the handshake; ConnectionError if it fails or the certificate is another's."""
        await self.start(RTCDtlsParameters([RTCDtlsFingerprint(name, digest) for name, digest in fingerprints]))
        if self.state != "connected":
            raise ConnectionError("the DTLS handshake failed")
        self.link = Link(library_functions(), *(_address(part) for part in (self._ssl._ssl, self._ssl._into_ssl, self._ssl._from_ssl)), self._ssl)
        self.redirect()

    def redirect(self) -> None:
        """Sends to where ICE says now; call when that has changed."""
        if self.link is not None:
            self.link.redirect(*self.transport.path)

    def flow(self) -> None:
        """From now on datagrams come straight from the socket. Call when the receiver of data is there."""
        self.transport.on_datagram = self.receive
        for data in self.transport.waiting():
            self.receive(data)

    def media_keys(self) -> MediaKeys:
        """Keys of what we send: the server's write key and salt."""
        name = self._ssl.get_selected_srtp_profile()
        profile = next(profile for profile in SRTP_PROFILES if profile.openssl_profile == name)
        material = self._ssl.export_keying_material(b"EXTRACTOR-dtls_srtp", 2 * (profile.key_length + profile.salt_length))
        both = profile.get_key_and_salt(material, _SERVER)
        return MediaKeys(_PROFILE_NUMBERS[name], both[:profile.key_length], both[profile.key_length:])

    def receive(self, datagram: bytes) -> None:
        """Takes a datagram of DTLS or SRTCP."""
        if datagram[0] < 64:
            self._receive_dtls(datagram)
            return
        try:
            compound = self._rx_srtp.unprotect_rtcp(datagram)
        except pylibsrtp.Error:
            self._peer.malformed("srtcp")  # RTP too: a viewer has none to send
            return
        self._peer.feedback(compound)

    def _receive_dtls(self, datagram: bytes) -> None:
        receiver = self._data_receiver
        try:
            messages = self.link.receive(datagram, receiver and receiver.sender, now_ns())
        except ConnectionResetError:
            self._peer.closed_by_viewer()
            return
        except ConnectionAbortedError:
            # OpenSSL passes over records that are merely wrong: what it reports is the end of the connection, a fatal alert mostly.
            self._peer.malformed("dtls")
            self._peer.closed_by_viewer()
            return
        if receiver is not None:
            for message in messages or ():
                receiver.receive(message)
            receiver.attend()

    def transmit(self, message: bytes) -> None:
        """Sends one message, at once; ConnectionError when that cannot be."""
        if self.state != "connected" or self.link is None:
            raise ConnectionError("DTLS is not connected")
        self.link.send(message)

    def transmit_rtcp(self, compound: bytes) -> None:
        """Sends RTCP, at once; ConnectionError when that cannot be."""
        self.transport.transmit(self._tx_srtp.protect_rtcp(compound))

    async def _send_data(self, data: bytes) -> None:
        self.transmit(data)


def library_functions() -> tuple[int, ...]:
    """Addresses of what C calls of libssl; AttributeError names the first that is not there."""
    return tuple(_address(_openssl.ffi.addressof(_openssl.lib, name)) for name in _LIBRARY_FUNCTIONS)


def now_ns() -> int:
    """The loop's clock."""
    return int(asyncio.get_running_loop().time() * _SECOND_NS)


def _address(pointer: object) -> int:
    return int(_openssl.ffi.cast("uintptr_t", pointer))
