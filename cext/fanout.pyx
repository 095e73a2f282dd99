# distutils: sources = cext/kernels/fanout.c cext/kernels/rendition.c cext/kernels/viewer.c cext/kernels/numbering.c cext/kernels/datagrams.c cext/kernels/srtp.c cext/kernels/gcm.c cext/kernels/gcm_vaes.c cext/kernels/packetise.c cext/kernels/ring.c
# distutils: libraries = crypto
# cython: embedsignature=True
"""Fan-out of access units to viewers: packetised once, encrypted and sent to each, all in C on a thread of its own.

Used by appliance/fanout, which is the control plane (ICE, DTLS, RTCP). A master key is given to add_viewer once for each SSRC: another viewer
with the same key and SSRC would use its packet indices for other octets. The work is kernels/fanout.c.
"""
import os
from collections import namedtuple

from libc.stdint cimport int16_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from cext.ring cimport RingReader, ring

cdef extern from "fanout.h" nogil:
    enum: RENDITION_COUNTERS, BUCKETS_MAX, FANOUT_RENDITIONS_MAX, FANOUT_VIEWERS_MAX, NACKS_PER_CALL_MAX, RTP_MID_BYTES_MAX
    enum: FANOUT_UNKNOWN, FANOUT_FULL, FANOUT_NO_RENDITION, FANOUT_DIFFERENT, CODEC_H264, CODEC_VP8, CODEC_OPUS, SRTP_KEY_BYTES
    enum: SEND_SEGMENTED, SEND_BATCHED, SEND_SINGLY
    struct fanout_c "fanout":
        pass
    struct rendition_c "rendition":
        uint64_t counters[RENDITION_COUNTERS]
        uint64_t latency_buckets[33]
        uint64_t skew_buckets[33]
    struct bounds:
        uint32_t count
        uint64_t ns[32]
    struct destination_c "destination":
        pass
    struct viewer_settings:
        destination_c destination
        uint64_t bits_per_s
        int profile
        const uint8_t *key
        const uint8_t *salt
        uint32_t timestamp_shift
        uint8_t payload_type, playout_delay_id, abs_send_time_id, mid_id, mid_bytes
        uint16_t playout_delay_min, playout_delay_max
        uint8_t mid[16]
    struct viewer_stats:
        uint64_t packets, octets, last_capture_tai_ns, first_send_monotonic_ns, skips, resends, resends_refused, send_errors
        uint32_t last_rtp_timestamp
        uint16_t first_sequence, last_sequence
        int16_t rendition
        uint8_t waiting_keyframe, send_way
    size_t srtp_salt_bytes(int profile)
    int destination_open(destination_c *target, int fd, const char *host, uint16_t port, int way)
    void destination_close(destination_c *target)
    fanout_c *fanout_create(uint32_t renditions_max, uint32_t viewers_max, const bounds *latency, const bounds *skew)
    void fanout_destroy(fanout_c *f)
    int fanout_keyframe_fd(const fanout_c *f)
    int fanout_add_rendition(fanout_c *f, ring *r, uint32_t reader, int doorbell, int codec, uint32_t ssrc)
    int fanout_set_ring(fanout_c *f, int number, ring *r, uint32_t reader, int doorbell)
    int fanout_remove_rendition(fanout_c *f, int number)
    rendition_c *fanout_rendition(fanout_c *f, int number)
    uint64_t fanout_take_keyframes_wanted(fanout_c *f, rendition_c *r)
    int64_t fanout_add_viewer(fanout_c *f, int number, const viewer_settings *settings)
    int fanout_remove_viewer(fanout_c *f, int64_t viewer)
    int fanout_redirect_viewer(fanout_c *f, int64_t viewer, const destination_c *target)
    int fanout_move_viewer(fanout_c *f, int64_t viewer, int number, int pause)
    int fanout_skip_viewer(fanout_c *f, int64_t viewer)
    int fanout_viewer_stats(fanout_c *f, int64_t viewer, viewer_stats *stats)
    int fanout_nack(fanout_c *f, int64_t viewer, const uint16_t *sequences, uint32_t count)
    int fanout_run(fanout_c *f)
    void fanout_stop(fanout_c *f)

SEGMENTED, BATCHED, SINGLY = SEND_SEGMENTED, SEND_BATCHED, SEND_SINGLY
LATENCY_BOUNDS_NS = tuple(milliseconds * 1_000_000 for milliseconds in (1, 2, 5, 10, 15, 20, 25, 30, 40, 50, 75, 100, 150, 200, 300, 500, 1000))
SKEW_BOUNDS_NS = tuple(microseconds * 1000 for microseconds in (100, 200, 500, 1000, 2000, 3000, 4000, 5000, 6000, 8000, 10_000, 15_000, 20_000, 50_000))

ViewerStats = namedtuple("ViewerStats", "packets octets last_rtp_timestamp last_capture_tai_ns first_sequence last_sequence skips "
                                        "waiting_keyframe resends resends_refused send_errors send_way first_send_monotonic_ns rendition")
_COUNTERS = ("units gaps units_refused packets_made packets octets send_calls send_errors eagains gso_fallbacks skips resends resends_refused "
             "keyframes_wanted packetise_ns encrypt_ns send_ns skew_sum_ns skew_max_ns latency_sum_ns viewers")
RenditionStats = namedtuple("RenditionStats", _COUNTERS + " latency_buckets skew_buckets")
_CODECS = {b"h264": CODEC_H264, b"vp8": CODEC_VP8, b"opus": CODEC_OPUS}


cdef int _check_range(str name, object value, int low, int high) except -1:
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}; it lies between {low} and {high}")
    return 0


cdef int _open_destination(destination_c *target, int fd, tuple remote, int way) except -1:
    cdef bytes host = remote[0].encode() if remote else b""
    cdef int error
    if remote is None:
        error = destination_open(target, fd, NULL, 0, way)
    else:
        _check_range("the remote port", remote[1], 1, 65535)
        error = destination_open(target, fd, host, remote[1], way)
    if error:
        raise OSError(-error, f"{os.strerror(-error)}: cannot send from descriptor {fd} to {remote or 'its peer'}")
    return 0


cdef int _read_bounds(str name, object values, bounds *target) except -1:
    _check_range(f"the number of {name}", len(values), 0, BUCKETS_MAX)
    target.count = len(values)
    for i, value in enumerate(values):
        target.ns[i] = value
    return 0


cdef class Fanout:
    """The viewers of one worker. One thread calls run(); every other method may be called meanwhile from any thread."""

    cdef fanout_c *pointer
    cdef dict readers  # by rendition: keeps the mapped rings alive
    cdef int send_way
    cdef bounds latency, skew

    def __cinit__(self, int renditions_max=16, int viewers_max=1024, *, latency_bounds_ns=LATENCY_BOUNDS_NS, skew_bounds_ns=SKEW_BOUNDS_NS,
                  int send_way=SEND_SEGMENTED):
        """`send_way` is where viewers begin: SEGMENTED, BATCHED or SINGLY. Bounds of histograms rise; at most 32."""
        _check_range("renditions_max", renditions_max, 1, FANOUT_RENDITIONS_MAX)
        _check_range("viewers_max", viewers_max, 1, FANOUT_VIEWERS_MAX)
        _check_range("send_way", send_way, SEND_SEGMENTED, SEND_SINGLY)
        _read_bounds("latency_bounds_ns", latency_bounds_ns, &self.latency)
        _read_bounds("skew_bounds_ns", skew_bounds_ns, &self.skew)
        self.readers, self.send_way = {}, send_way
        self.pointer = fanout_create(renditions_max, viewers_max, &self.latency, &self.skew)
        if self.pointer == NULL:
            raise MemoryError("no memory or descriptors for the fan-out")

    def __dealloc__(self):
        if self.pointer != NULL:
            fanout_destroy(self.pointer)

    cdef rendition_c *_find(self, int number) except NULL:
        cdef rendition_c *found = fanout_rendition(self.pointer, number)
        if found == NULL:
            raise KeyError(f"there is no rendition {number}")
        return found

    @property
    def keyframe_fd(self):
        """An eventfd, readable when take_keyframe_wanted() has something for some rendition."""
        return fanout_keyframe_fd(self.pointer)

    def add_rendition(self, RingReader reader not None, bytes codec not None, uint32_t ssrc):
        """Serves the ring of access units (policy EVERY) from now on; codec is b"h264", b"vp8" or b"opus". Returns the rendition's number.

        Viewers can move between renditions of one codec and SSRC.
        """
        if codec not in _CODECS:
            raise ValueError(f"a codec is b'h264', b'vp8' or b'opus', not {codec!r}")
        cdef int number, kind = _CODECS[codec]
        with nogil:
            number = fanout_add_rendition(self.pointer, reader.pointer, reader.index, reader.doorbell, kind, ssrc)
        if number == FANOUT_FULL:
            raise OverflowError("all places for renditions are taken")
        if number < 0:
            raise MemoryError("no memory for the rendition's history")
        self.readers[number] = reader
        return number

    def set_ring(self, int rendition, RingReader reader):
        """Serves another ring of access units, or None until there is one. Viewers stay and wait for its first keyframe. KeyError."""
        cdef int failed
        if reader is None:
            with nogil:
                failed = fanout_set_ring(self.pointer, rendition, NULL, 0, -1)
        else:
            with nogil:
                failed = fanout_set_ring(self.pointer, rendition, reader.pointer, reader.index, reader.doorbell)
        if failed:
            raise KeyError(f"there is no rendition {rendition}")
        self.readers[rendition] = reader

    def remove_rendition(self, int rendition):
        """Frees the rendition's place. KeyError; ValueError while it has viewers."""
        cdef int refusal
        with nogil:
            refusal = fanout_remove_rendition(self.pointer, rendition)
        if refusal == FANOUT_UNKNOWN:
            raise KeyError(f"there is no rendition {rendition}")
        if refusal:
            raise ValueError(f"rendition {rendition} has viewers")
        del self.readers[rendition]

    def add_viewer(self, int rendition, int fd, tuple remote, int profile, bytes key not None, bytes salt not None, int payload_type,
                   int playout_delay_id=0, tuple playout_delay=(0, 0), int mid_id=0, bytes mid=b"", int abs_send_time_id=0,
                   uint64_t bits_per_s=0, uint32_t timestamp_shift=0):
        """Sends the rendition through a duplicate of `fd` from the next keyframe on, which it wants. Returns the viewer's id.

        `remote` is host and port, or None if the descriptor is connected. `bits_per_s`, the rendition's bit rate, for a socket that nobody
        else sends through: the kernel then spaces its packets where it can (SO_MAX_PACING_RATE), within an eighth of a frame or 3 ms.

        Key and salt are DTLS's SRTP master key and salt (RFC 5764 4.2) of profile 0x0007 (AES-128-GCM: 16 and 12 octets) or 0x0001
        (AES-CM, SHA1-80: 16 and 14). Extension ids are 1 to 14 (RFC 8285 4.2), 0 where not negotiated; playout_delay is min and max in
        units of 10 ms; `timestamp_shift` is added to every RTP timestamp that leaves, resends included. KeyError, OverflowError (no place), ValueError, OSError (the descriptor or address), RuntimeError (OpenSSL).
        """
        cdef viewer_settings settings
        if not srtp_salt_bytes(profile):
            raise ValueError(f"SRTP profile {profile:#06x} is not served")
        _check_range("the key's length", len(key), SRTP_KEY_BYTES, SRTP_KEY_BYTES)
        _check_range("the salt's length", len(salt), srtp_salt_bytes(profile), srtp_salt_bytes(profile))
        _check_range("payload_type", payload_type, 0, 127)
        _check_range("playout_delay_id", playout_delay_id, 0, 14)
        _check_range("mid_id", mid_id, 0, 14)
        _check_range("abs_send_time_id", abs_send_time_id, 0, 14)
        _check_range("the length of mid", len(mid), 1 if mid_id else 0, RTP_MID_BYTES_MAX)
        for units in playout_delay:
            _check_range("playout_delay", units, 0, 4095)
        settings.bits_per_s = bits_per_s
        settings.profile, settings.key, settings.salt = profile, key, salt
        settings.payload_type, settings.playout_delay_id, settings.mid_id = payload_type, playout_delay_id, mid_id
        settings.abs_send_time_id, settings.timestamp_shift = abs_send_time_id, timestamp_shift
        settings.playout_delay_min, settings.playout_delay_max = playout_delay
        settings.mid_bytes = len(mid)
        for i, octet in enumerate(mid):
            settings.mid[i] = octet
        _open_destination(&settings.destination, fd, remote, self.send_way)
        return self._add(rendition, &settings)

    cdef _add(self, int rendition, viewer_settings *settings):
        cdef int64_t viewer
        with nogil:
            viewer = fanout_add_viewer(self.pointer, rendition, settings)
        if viewer > 0:
            return viewer
        destination_close(&settings.destination)
        if viewer == FANOUT_UNKNOWN:
            raise KeyError(f"there is no rendition {rendition}")
        if viewer == FANOUT_FULL:
            raise OverflowError("all places for viewers are taken")
        raise RuntimeError("OpenSSL refused the viewer's SRTP session")

    def remove_viewer(self, int64_t viewer):
        """Stops sending, closes the duplicate descriptor and zeroes the keys. KeyError for an unknown or removed viewer."""
        cdef int failed
        with nogil:
            failed = fanout_remove_viewer(self.pointer, viewer)
        if failed:
            raise KeyError(f"there is no viewer {viewer}")

    def redirect_viewer(self, int64_t viewer, int fd, tuple remote):
        """Sends through another socket to another address (ICE chose another pair), with the same keys and numbering."""
        cdef destination_c target
        cdef int failed
        _open_destination(&target, fd, remote, self.send_way)
        with nogil:
            failed = fanout_redirect_viewer(self.pointer, viewer, &target)
        if failed:
            destination_close(&target)
            raise KeyError(f"there is no viewer {viewer}")

    def move_viewer(self, int64_t viewer, int rendition, pause=False):
        """Sends another rendition from its next keyframe on, which it wants; until then the present one, or nothing with `pause`.

        Another move replaces this one, a move to the present rendition cancels it. Numbering stays gapless; RTP timestamps rise: a keyframe
        of the time that was sent last is sent with one tick more, an older one is passed over. KeyError; ValueError if codec or SSRC differ.
        """
        cdef int refusal, pausing = bool(pause)
        with nogil:
            refusal = fanout_move_viewer(self.pointer, viewer, rendition, pausing)
        if refusal == FANOUT_UNKNOWN:
            raise KeyError(f"there is no viewer {viewer}")
        if refusal == FANOUT_NO_RENDITION:
            raise KeyError(f"there is no rendition {rendition}")
        if refusal == FANOUT_DIFFERENT:
            raise ValueError(f"rendition {rendition} has another codec or SSRC than the viewer's")

    def skip_viewer(self, int64_t viewer):
        """Sends nothing until the next keyframe, which is wanted. KeyError for an unknown or removed viewer."""
        cdef int failed
        with nogil:
            failed = fanout_skip_viewer(self.pointer, viewer)
        if failed:
            raise KeyError(f"there is no viewer {viewer}")

    def nack(self, int64_t viewer, sequence_numbers):
        """Sends these packets again, octet for octet; returns how many. The others are too old, unknown, or asked for too often."""
        cdef uint16_t sequences[NACKS_PER_CALL_MAX]
        cdef uint32_t count = min(len(sequence_numbers), NACKS_PER_CALL_MAX)
        cdef int sent
        for i in range(count):
            sequences[i] = sequence_numbers[i]
        with nogil:
            sent = fanout_nack(self.pointer, viewer, sequences, count)
        if sent < 0:
            raise KeyError(f"there is no viewer {viewer}")
        return sent

    def run(self):
        """Serves until stop(), without the GIL: the body of a thread. OSError if a doorbell is not a usable descriptor."""
        cdef int error
        with nogil:
            error = fanout_run(self.pointer)
        if error:
            raise OSError(-error, os.strerror(-error))

    def stop(self):
        """Ends run() for good. From any thread."""
        fanout_stop(self.pointer)

    def viewer_stats(self, int64_t viewer):
        """What the viewer was sent, consistent in itself; RTP timestamps without the shift. KeyError for an unknown or removed viewer."""
        cdef viewer_stats s
        cdef int failed
        with nogil:
            failed = fanout_viewer_stats(self.pointer, viewer, &s)
        if failed:
            raise KeyError(f"there is no viewer {viewer}")
        return ViewerStats(s.packets, s.octets, s.last_rtp_timestamp, s.last_capture_tai_ns, s.first_sequence, s.last_sequence, s.skips,
                           bool(s.waiting_keyframe), s.resends, s.resends_refused, s.send_errors, s.send_way, s.first_send_monotonic_ns, s.rendition)

    def rendition_stats(self, int rendition):
        """Totals since the rendition was added; buckets are not cumulative, +Inf last.

        latency_buckets counts units from capture to the last viewer's send, skew_buckets from the first viewer's last packet to the last
        viewer's. `viewers` are those that it is sent to or that move there.
        """
        cdef rendition_c *found = self._find(rendition)
        return RenditionStats(*[found.counters[i] for i in range(RENDITION_COUNTERS)],
                              tuple([found.latency_buckets[i] for i in range(self.latency.count + 1)]),
                              tuple([found.skew_buckets[i] for i in range(self.skew.count + 1)]))

    def take_keyframe_wanted(self, int rendition):
        """How often a keyframe was wanted since the last call: a viewer came or skipped, or a unit that others refer to was lost."""
        return fanout_take_keyframes_wanted(self.pointer, self._find(rendition))
