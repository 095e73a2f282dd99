# distutils: sources = cext/kernels/packetise.c
# cython: embedsignature=True
"""RTP payloads of one access unit, as the fan-out makes them: the fast twin of appliance/protocol/h264.py and vp8.py.

Called by tests; the fan-out calls kernels/packetise.c itself. Makes no RTP headers.
"""
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "packetise.h" nogil:
    enum: CODEC_H264, CODEC_VP8, CODEC_OPUS, UNIT_PACKETS_MAX, PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MIN
    enum: PACKETISE_EMPTY, PACKETISE_MALFORMED, PACKETISE_TOO_LARGE
    struct packet:
        uint16_t payload_bytes
        uint8_t marker
        uint8_t payload[1]
    struct history:
        packet *packets
        uint64_t mask
    struct packetiser:
        int codec
        size_t payload_bytes_max
    int c_packetise "packetise"(const packetiser *state, const uint8_t *unit, size_t unit_bytes, uint32_t rtp_timestamp,
                                const history *packets, uint64_t first_index)

PAYLOAD_MAX, PACKETS_MAX = PAYLOAD_BYTES_MAX, UNIT_PACKETS_MAX
_CODECS = {b"h264": CODEC_H264, b"vp8": CODEC_VP8, b"opus": CODEC_OPUS}
_REFUSALS = {PACKETISE_EMPTY: "empty", PACKETISE_MALFORMED: "malformed", PACKETISE_TOO_LARGE: "too_large"}


def packetise(bytes codec, bytes unit, size_t payload_bytes_max=PAYLOAD_BYTES_MAX):
    """The payloads of an access unit (Annex B, one VP8 frame, or one of Opus) and their marker bits: ([bytes], [bool]).

    ValueError("empty" | "malformed" | "too_large") where the fan-out would refuse the unit.
    """
    if not PAYLOAD_BYTES_MIN <= payload_bytes_max <= PAYLOAD_BYTES_MAX:
        raise ValueError(f"a payload's limit lies between {PAYLOAD_BYTES_MIN} and {PAYLOAD_BYTES_MAX}")
    cdef packetiser state
    cdef history packets
    cdef int count
    state.codec, state.payload_bytes_max = _CODECS[codec], payload_bytes_max
    packets.mask = UNIT_PACKETS_MAX - 1
    packets.packets = <packet *>PyMem_Malloc(UNIT_PACKETS_MAX * sizeof(packet))
    if packets.packets == NULL:
        raise MemoryError
    try:
        count = c_packetise(&state, unit, len(unit), 0, &packets, 0)
        if count < 0:
            raise ValueError(_REFUSALS[count])
        return ([packets.packets[i].payload[:packets.packets[i].payload_bytes] for i in range(count)],
                [bool(packets.packets[i].marker) for i in range(count)])
    finally:
        PyMem_Free(packets.packets)
