# distutils: sources = cext/kernels/srtp.c cext/kernels/gcm.c cext/kernels/gcm_vaes.c
# distutils: libraries = crypto
# cython: embedsignature=True
"""SRTP protection as the fan-out does it, packet by packet from Python.

Called by tests; the fan-out calls kernels/srtp.c itself. Only protects; never reads.
"""
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

cdef extern from "srtp.h" nogil:
    enum: GCM_OPENSSL, GCM_IPSEC_MB, GCM_VAES
    enum: SRTP_AES128_CM_SHA1_80, SRTP_AEAD_AES_128_GCM, SRTP_KEY_BYTES, SRTP_SALT_BYTES_MAX, SRTP_AUTHENTICATION_KEY_BYTES
    struct srtp_session:
        size_t tag_bytes
    int srtp_derive(int profile, const uint8_t *master_key, const uint8_t *master_salt, uint8_t *key, uint8_t *salt, uint8_t *authentication)
    size_t srtp_salt_bytes(int profile)
    int gcm_has(int route)
    int srtp_open_derived(srtp_session *session, int profile, int route, const uint8_t *key, const uint8_t *salt, const uint8_t *authentication)
    void srtp_close(srtp_session *session)
    size_t srtp_protect_packet(srtp_session *session, uint64_t index, uint8_t *packet, size_t header_bytes, const uint8_t *payload,
                               size_t payload_bytes)

OPENSSL, IPSEC_MB, VAES = GCM_OPENSSL, GCM_IPSEC_MB, GCM_VAES
AES128_CM_SHA1_80, AEAD_AES_128_GCM = SRTP_AES128_CM_SHA1_80, SRTP_AEAD_AES_128_GCM
cdef enum:
    PACKET_ROOM = 65536


def derive(int profile, bytes master_key, bytes master_salt):
    """Session key, salt and authentication key of RTP (RFC 3711 4.3)."""
    cdef uint8_t key[SRTP_KEY_BYTES]
    cdef uint8_t salt[SRTP_SALT_BYTES_MAX]
    cdef uint8_t authentication[SRTP_AUTHENTICATION_KEY_BYTES]
    if len(master_key) != SRTP_KEY_BYTES or <size_t>len(master_salt) != srtp_salt_bytes(profile):
        raise ValueError("key or salt has the wrong length for the profile")
    if srtp_derive(profile, master_key, master_salt, key, salt, authentication):
        raise RuntimeError("OpenSSL refused")
    return key[:SRTP_KEY_BYTES], salt[:srtp_salt_bytes(profile)], authentication[:SRTP_AUTHENTICATION_KEY_BYTES]


def routes():
    """How AES-GCM can be done here: OPENSSL, and what else there is of IPSEC_MB and VAES."""
    return tuple(route for route in (OPENSSL, IPSEC_MB, VAES) if gcm_has(route))


cdef class Session:
    """Protects packets with session keys, as derive() gives them."""

    cdef srtp_session session
    cdef uint8_t packet[PACKET_ROOM]

    def __cinit__(self, int profile, bytes key, bytes salt, bytes authentication_key=bytes(SRTP_AUTHENTICATION_KEY_BYTES),
                  int route=GCM_OPENSSL):
        """AES-GCM goes by `route`, one of routes(); RuntimeError if this machine has no such route."""
        if (len(key), len(salt), len(authentication_key)) != (SRTP_KEY_BYTES, srtp_salt_bytes(profile), SRTP_AUTHENTICATION_KEY_BYTES):
            raise ValueError("a key has the wrong length for the profile")
        if srtp_open_derived(&self.session, profile, route, key, salt, authentication_key):
            raise RuntimeError("OpenSSL refused")

    def __dealloc__(self):
        srtp_close(&self.session)

    def protect(self, uint64_t index, bytes header, bytes payload):
        """The SRTP packet; `index` is ROC << 16 | SEQ and must agree with the header's sequence number."""
        if len(header) < 12 or len(header) + len(payload) + self.session.tag_bytes > PACKET_ROOM:
            raise ValueError("header too short or packet too long")
        memcpy(self.packet, <const uint8_t *>header, len(header))
        cdef size_t packet_bytes = srtp_protect_packet(&self.session, index, self.packet, len(header), payload, len(payload))
        if not packet_bytes:
            raise RuntimeError("OpenSSL refused, or the index is above 2^48 - 1")
        return self.packet[:packet_bytes]
