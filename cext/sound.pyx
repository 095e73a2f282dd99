# distutils: sources = cext/kernels/listening.c cext/kernels/tape.c cext/kernels/pcm.c cext/kernels/resample.c cext/kernels/sequence.c
# distutils: libraries = m
# cython: embedsignature=True
"""Reception of one PCM sound flow: sockets -> tape of two sides by the sender's time -> frames at the rate of whoever reads.

The sound stage calls Listening.run() without the GIL and Tape.take() once a frame; nothing in Python runs per packet.
"""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef extern from "pcm.h" nogil:
    enum: PCM_CHANNELS_MAX, PCM_REFUSALS, PCM_SIDES, PCM_TICKS_MAX
    const char *pcm_refusals[]
    struct pcm_format:
        uint8_t payload_type, sample_bytes
        unsigned short channels
        float gains[64][2]

cdef extern from "tape.h" nogil:
    enum: TAPE_NOT_YET, TAPE_WHOLE, TAPE_HOLES, TAPE_ENDED, TAPE_TICKS, TAPE_HISTORY
    struct tape_instant:
        int64_t tai_ns, monotonic_ns
    struct tape_statistics:
        uint64_t packets, octets, duplicate, reordered, late, early
        uint64_t malformed[16]
        uint64_t restarts, outages, packet_time_wrong, ticks_missing, clipped
    struct sequence_window:
        uint64_t lost
    struct tape_c "tape":
        sequence_window window
        uint64_t epoch
        int64_t epoch_first, settled, lag_ns
        int lag_known
        tape_instant epoch_came
        float peak
        tape_statistics statistics
    tape_c *tape_new(const pcm_format *format, uint32_t rate_hz, uint32_t packet_ticks, uint32_t output_hz)
    void tape_free(tape_c *t)
    void tape_packet(tape_c *t, const uint8_t *packet, size_t length, const tape_instant *came)
    void tape_begin_anew(tape_c *t)
    int tape_due(const tape_c *t, int64_t end, int64_t now_monotonic_ns)
    int64_t tape_needed(const tape_c *t, int64_t first, uint32_t fraction, uint64_t step, uint32_t count)
    uint32_t tape_take(tape_c *t, int64_t first, uint32_t fraction, uint64_t step, uint32_t count, float (*target)[2])

cdef extern from "listening.h" nogil:
    enum: LEGS_MAX
    struct listening_statistics:
        uint64_t batches, kernel_drops
        uint64_t datagrams[2]
    struct listening:
        listening_statistics statistics
    listening *listening_new(const int *sockets, uint32_t count)
    void listening_free(listening *l)
    int listening_run(listening *l, tape_c *t, const int64_t *end, int64_t duration_ns)

NOT_YET, WHOLE, HOLES, ENDED = TAPE_NOT_YET, TAPE_WHOLE, TAPE_HOLES, TAPE_ENDED
CHANNELS_MAX, TICKS_MAX = PCM_CHANNELS_MAX, PCM_TICKS_MAX
ONE = 1 << 32


cdef class Tape:
    """The last moments of one flow, mixed down to two sides. Ticks are the sender's, unwrapped from its RTP timestamps.

    `gains`: for each channel how much of it goes left and right. Positions and steps of what is read have 32 bits behind the point (ONE is a tick).
    """
    cdef tape_c *tape

    def __cinit__(self, *, gains, int depth, uint32_t rate_hz, uint32_t packet_ticks, uint8_t payload_type, uint32_t output_hz=48000):
        cdef pcm_format format
        if not 1 <= len(gains) <= PCM_CHANNELS_MAX or depth not in (16, 24) or not 8000 <= rate_hz <= 2 * output_hz:
            raise ValueError(f"no sound: {len(gains)} channels of {depth} bit at {rate_hz} Hz")
        format.payload_type, format.sample_bytes, format.channels = payload_type, depth // 8, len(gains)
        for channel, (left, right) in enumerate(gains):
            format.gains[channel][0], format.gains[channel][1] = left, right
        self.tape = tape_new(&format, rate_hz, packet_ticks, output_hz)
        if self.tape == NULL:
            raise MemoryError("no memory for the tape")

    def __dealloc__(self):
        if self.tape != NULL:
            tape_free(self.tape)

    def packet(self, const uint8_t[::1] packet not None, int64_t tai_ns, int64_t monotonic_ns):
        """Takes one UDP payload that came at this time. For tests; Listening does the same without Python."""
        cdef tape_instant came = tape_instant(tai_ns, monotonic_ns)
        tape_packet(self.tape, &packet[0] if packet.shape[0] else NULL, packet.shape[0], &came)

    def due(self, int64_t end, int64_t monotonic_ns):
        """Whether the ticks before `end` can be read: NOT_YET, WHOLE, HOLES (they will not be filled) or ENDED (nothing has come for long)."""
        return tape_due(self.tape, end, monotonic_ns)

    def needed(self, position, uint64_t step, uint32_t count):
        """The tick behind the last one that take() with the same arguments reads."""
        return tape_needed(self.tape, position >> 32, position & 0xFFFF_FFFF, step, count)

    def take(self, position, uint64_t step, float[:, ::1] target not None):
        """Reads as many samples as `target` (n x 2) takes; what is missing becomes silence with soft edges. Returns how many ticks did."""
        cdef int64_t first = position >> 32
        cdef uint32_t fraction = position & 0xFFFF_FFFF, missing
        if target.shape[1] != PCM_SIDES or target.shape[0] == 0 or not 0 < step <= <uint64_t>4 << 32 or target.shape[0] > TAPE_TICKS // 8:
            raise ValueError("a frame has two sides and at most an eighth of the tape")
        if first < self.tape.settled - <int64_t>(TAPE_HISTORY // 2):
            raise ValueError(f"tick {first} has been overwritten")
        with nogil:
            missing = tape_take(self.tape, first, fraction, step, target.shape[0], <float (*)[2]>&target[0, 0])
        return missing

    @property
    def epoch(self):
        """Grows each time that the sound begins anew; 0 before it came."""
        return self.tape.epoch

    @property
    def beginning(self):
        """The present epoch's first tick, and when its packet came (TAI ns)."""
        return self.tape.epoch_first, self.tape.epoch_came.tai_ns

    def begin_anew(self):
        """Lets the next packet begin an epoch: what is on the tape is forgotten then."""
        tape_begin_anew(self.tape)

    def take_lag_ns(self):
        """By how much later than its samples' time a packet came, against the epoch's first one: the least since the last call; None without one."""
        if not self.tape.lag_known:
            return None
        self.tape.lag_known = 0
        return self.tape.lag_ns

    def take_peak(self):
        """The highest sample read since the last call, of full scale (1)."""
        peak, self.tape.peak = self.tape.peak, 0
        return peak

    def statistics(self):
        """Totals since the start, by name; `malformed` is a dict by reason."""
        cdef tape_statistics *s = &self.tape.statistics
        return {
            "packets": s.packets, "octets": s.octets, "lost": self.tape.window.lost, "duplicate": s.duplicate, "reordered": s.reordered,
            "late": s.late, "early": s.early, "restarts": s.restarts, "outages": s.outages, "packet_time_wrong": s.packet_time_wrong,
            "ticks_missing": s.ticks_missing, "clipped": s.clipped,
            "malformed": {pcm_refusals[i].decode(): s.malformed[i] for i in range(1, PCM_REFUSALS)},
        }


cdef class Listening:
    """Batches of datagrams from one or two bound UDP sockets onto a tape. The sockets stay the caller's and must outlive this."""
    cdef listening *listening
    cdef readonly Tape tape

    def __cinit__(self, sockets, Tape tape not None):
        cdef int numbers[LEGS_MAX]
        if not 1 <= len(sockets) <= LEGS_MAX:
            raise ValueError(f"a flow has one socket or {LEGS_MAX}")
        for i, number in enumerate(sockets):
            numbers[i] = number
        self.tape = tape
        self.listening = listening_new(numbers, len(sockets))
        if self.listening == NULL:
            raise MemoryError("no memory for the reception buffers")

    def __dealloc__(self):
        if self.listening != NULL:
            listening_free(self.listening)

    def run(self, end, int64_t duration_ns):
        """Receives without the GIL until the ticks before `end` are due (None: no waiting for any), the sound begins anew, a signal comes, or for
        about `duration_ns`. What Tape.due() says then. OSError if a socket fails."""
        cdef int64_t tick = end if end is not None else 0
        cdef const int64_t *wanted = NULL if end is None else &tick
        cdef int result
        with nogil:
            result = listening_run(self.listening, self.tape.tape, wanted, duration_ns)
        if result < 0:
            raise OSError(-result, "reception failed")
        return result

    def datagrams(self, int leg):
        """Received by that socket since the start."""
        if not 0 <= leg < LEGS_MAX:
            raise IndexError(f"a flow has at most {LEGS_MAX} sockets")
        return self.listening.statistics.datagrams[leg]

    def statistics(self):
        """Totals since the start: datagrams, batches, kernel_drops."""
        s = &self.listening.statistics
        return {"datagrams": s.datagrams[0] + s.datagrams[1], "batches": s.batches, "kernel_drops": s.kernel_drops}
