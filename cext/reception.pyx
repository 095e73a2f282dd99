# distutils: sources = cext/kernels/reception.c cext/kernels/packet_ring.c cext/kernels/ip_datagram.c cext/kernels/arrival.c cext/kernels/assembly.c cext/kernels/sequence.c cext/kernels/rfc4175.c cext/kernels/ring_sink.c cext/kernels/ring.c cext/kernels/timing.c
# cython: embedsignature=True
"""Reception of one uncompressed video flow: socket or packet ring -> assembly -> raw ring, all in C with the GIL released.

The ingest stage calls run() of a Reception or a PacketRing and then moves Assembly.statistics() to its counters; nothing in Python runs per packet.
"""
from cpython.exc cimport PyErr_SetFromErrno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from cext.ring cimport RingWriter, ring
from cext.timing cimport timing, timing_begin, timing_dict, timing_schedule, timing_schedule_of

cdef extern from "rfc4175.h" nogil:
    ctypedef bint c_bool "bool"
    enum: MALFORMED_REASONS
    enum scan: SCAN_PROGRESSIVE, SCAN_INTERLACED, SCAN_SEGMENTED
    struct raster:
        uint32_t pgroups, pgroup_bytes
    const char *malformed_reasons[]
    c_bool raster_set(raster *r, uint32_t width, uint32_t height, uint32_t pgroup_bytes, uint32_t pgroup_columns, uint32_t pgroup_rows, scan s)

cdef extern from "arrival.h" nogil:
    enum stamp: STAMPS
    const char *stamp_kinds[]
    struct instant:
        int64_t tai_ns, monotonic_ns
        stamp stamp

cdef extern from "assembly.h" nogil:
    struct frame_sink:
        pass
    struct assembly_statistics:
        uint64_t packets, octets, duplicate, reordered, late, surplus
        uint64_t malformed[15]
        uint64_t frames, incomplete, no_slot, sparse, rows_missing, restarts, outages, markers_early, high_half_wrong, arrival_timed
    struct sequence_window:
        uint64_t lost
    struct assembly:
        uint32_t rate_hz, mediaclk_offset
        int64_t frame_interval_ns, capture_early_ns_max, capture_late_ns_max, transit_ns
        timing timing
        assembly_statistics statistics
        sequence_window window
    assembly *assembly_new(const raster *r, const frame_sink *sink, uint8_t payload_type, const uint8_t *neutral)
    void assembly_free(assembly *a)
    void assembly_packet(assembly *a, const uint8_t *packet, size_t length, const instant *now)
    void assembly_tick(assembly *a, int64_t now_monotonic_ns)

cdef extern from "ring_sink.h" nogil:
    enum: LATENCIES_MAX
    struct ring_sink:
        ring *ring
        const int *doorbells
        int doorbell_count
        uint32_t flags
        uint32_t latency_count
        int64_t latencies_ns[64]
    frame_sink ring_sink_frames(ring_sink *sink)
    void ring_sink_resume(const ring_sink *sink, assembly *a)

cdef extern from "reception.h" nogil:
    struct reception_statistics:
        uint64_t datagrams, buffers, batches, kernel_drops, hardware_merged
        uint64_t stamped[4]
    struct reception:
        reception_statistics statistics
    reception *reception_new(int fd)
    void reception_free(reception *r)
    int reception_run(reception *r, assembly *a, int64_t duration_ns)

cdef extern from "ip_datagram.h" nogil:
    enum: REFUSALS
    const char *refusal_reasons[]

cdef extern from "packet_ring.h" nogil:
    enum: RING_BLOCK_BYTES, RING_BLOCK_TIMEOUT_MS
    struct packet_ring:
        reception_statistics statistics
        uint64_t refused[16]
    packet_ring *packet_ring_new(int fd, uint32_t blocks, c_bool merged)
    void packet_ring_free(packet_ring *r)
    int packet_ring_run(packet_ring *r, assembly *a, int64_t duration_ns)

cdef dict SCANS = {"p": SCAN_PROGRESSIVE, "i": SCAN_INTERLACED, "PsF": SCAN_SEGMENTED}
BLOCK_BYTES, BLOCK_TIMEOUT_MS = RING_BLOCK_BYTES, RING_BLOCK_TIMEOUT_MS
# What a packet's time may rest on, from the best to the humblest.
STAMP_KINDS = tuple(stamp_kinds[kind].decode() for kind in range(<int>STAMPS))


cdef class Assembly:
    """Raw frames of one flow, assembled from packets into the slots of a raw ring (policy LATEST, row after row of packed pgroups).

    `scan` as VideoFormat.scan: "i" makes a raw frame of every field, "PsF" weaves the segments. `neutral_pgroup` is a grey pgroup for holes that
    nothing young fills. `frame_interval_ns`, from one raw frame to the next, lengthens the wait for a slow frame's end. The first sender that comes
    is followed, whatever its SSRC.
    ValueError if the raster is impossible or a slot is too small for it.
    """
    cdef assembly *assembly
    cdef ring_sink sink
    cdef readonly RingWriter writer

    def __cinit__(self, RingWriter writer not None, *, uint32_t width, uint32_t height, uint32_t pgroup_bytes, uint32_t pgroup_columns,
                  uint32_t pgroup_rows, str scan, uint8_t payload_type, bytes neutral_pgroup, uint32_t rate_hz=90000, uint32_t mediaclk_offset=0,
                  int64_t frame_interval_ns=0):
        cdef raster geometry
        if (not raster_set(&geometry, width, height, pgroup_bytes, pgroup_columns, pgroup_rows, SCANS[scan]) or len(neutral_pgroup) != pgroup_bytes
                or rate_hz == 0):
            raise ValueError(f"no raster: {width} x {height} {scan} in pgroups of {pgroup_bytes} octets for {pgroup_columns} x {pgroup_rows} pixels")
        # Safety: this is what bounds every write of a sample into a slot.
        if <uint64_t>geometry.pgroups * pgroup_bytes > writer.pointer.slot_bytes:
            raise ValueError(f"a frame of {geometry.pgroups * pgroup_bytes} octets does not fit a slot of {writer.pointer.slot_bytes}")
        self.writer = writer
        self.sink.ring, self.sink.doorbells, self.sink.doorbell_count = writer.pointer, writer.doorbells, writer.doorbell_count
        cdef frame_sink frames = ring_sink_frames(&self.sink)
        self.assembly = assembly_new(&geometry, &frames, payload_type, neutral_pgroup)
        if self.assembly == NULL:
            raise MemoryError("no memory for the assembly")
        self.assembly.rate_hz, self.assembly.mediaclk_offset, self.assembly.frame_interval_ns = rate_hz, mediaclk_offset, frame_interval_ns
        ring_sink_resume(&self.sink, self.assembly)

    def __dealloc__(self):
        if self.assembly != NULL:
            assembly_free(self.assembly)

    def packet(self, const uint8_t[::1] packet not None, int64_t tai_ns, int64_t monotonic_ns, str kind="kernel"):
        """Takes one UDP payload that arrived at this time, `kind` of STAMP_KINDS. For tests and replays; Reception does the same without Python."""
        cdef instant now = instant(tai_ns, monotonic_ns, <stamp><int>STAMP_KINDS.index(kind))
        assembly_packet(self.assembly, &packet[0] if packet.shape[0] else NULL, packet.shape[0], &now)

    def tick(self, int64_t monotonic_ns):
        """Closes frames that waited too long for their end."""
        assembly_tick(self.assembly, monotonic_ns)

    def statistics(self):
        """Totals since the start, by name; `malformed` is a dict by reason."""
        cdef assembly_statistics *s = &self.assembly.statistics
        return {
            "packets": s.packets, "octets": s.octets, "lost": self.assembly.window.lost, "duplicate": s.duplicate,
            "reordered": s.reordered, "late": s.late, "surplus": s.surplus, "frames": s.frames, "incomplete": s.incomplete, "no_slot": s.no_slot,
            "sparse": s.sparse, "rows_missing": s.rows_missing, "restarts": s.restarts, "outages": s.outages,
            "markers_early": s.markers_early, "high_half_wrong": s.high_half_wrong, "arrival_timed": s.arrival_timed,
            "malformed": {malformed_reasons[i].decode(): s.malformed[i] for i in range(1, MALFORMED_REASONS)},
        }

    def measure(self, schedule):
        """Measures the sender's timing against this appliance.protocol.timing.Schedule from now on."""
        cdef timing_schedule made = timing_schedule_of(schedule)
        timing_begin(&self.assembly.timing, &made)

    def take_timing(self):
        """What was measured since the last call, as cext.timing.Timing.take()."""
        return timing_dict(&self.assembly.timing)

    def believe(self, int64_t early_ns_max, int64_t late_ns_max):
        """Takes RTP times for capture times from now on if they lie at most so long after, and before, the arrival; else the arrival."""
        self.assembly.capture_early_ns_max, self.assembly.capture_late_ns_max = early_ns_max, late_ns_max

    @property
    def transit_ns(self):
        """From the last frame's RTP time to the arrival of its first packet, believed or not."""
        return self.assembly.transit_ns

    def flag_frames(self, uint32_t flags):
        """Sets these flags of a slot header in every frame from now on, besides its own."""
        self.sink.flags = flags

    def take_latencies_ns(self):
        """Nanoseconds from capture to publish of the frames since the last call; at most the first 64 of them."""
        latencies = [self.sink.latencies_ns[i] for i in range(self.sink.latency_count)]
        self.sink.latency_count = 0
        return latencies


cdef class Reception:
    """Batches of datagrams from a bound UDP socket into an assembly. The socket stays the caller's and must outlive this."""
    cdef reception *reception
    cdef readonly Assembly assembly

    def __cinit__(self, int fd, Assembly assembly not None):
        self.assembly = assembly
        self.reception = reception_new(fd)
        if self.reception == NULL:
            raise MemoryError("no memory for the reception buffers")

    def __dealloc__(self):
        if self.reception != NULL:
            reception_free(self.reception)

    def run(self, int64_t duration_ns):
        """Receives for about `duration_ns` without the GIL, less if a signal comes. OSError if the socket fails."""
        cdef int result
        with nogil:
            result = reception_run(self.reception, self.assembly.assembly, duration_ns)
        if result < 0:
            raise OSError(-result, "reception failed")

    def statistics(self):
        """Totals since the start: datagrams, buffers (merged datagrams are one), batches, kernel_drops, hardware_merged; `stamped` by kind; `refused` by
        reason, which the kernel counts."""
        return _totals(&self.reception.statistics) | {"refused": {}}


cdef class PacketRing:
    """Batches of datagrams from a bound packet socket's TPACKET_V3 ring of `blocks` into an assembly. The socket stays the caller's and must outlive this.

    `merged`: the socket has PACKET_VNET_HDR set. OSError if the ring cannot be mapped.
    """
    cdef packet_ring *ring
    cdef readonly Assembly assembly

    def __cinit__(self, int fd, uint32_t blocks, bint merged, Assembly assembly not None):
        self.assembly = assembly
        self.ring = packet_ring_new(fd, blocks, merged)
        if self.ring == NULL:
            PyErr_SetFromErrno(OSError)

    def __dealloc__(self):
        if self.ring != NULL:
            packet_ring_free(self.ring)

    def run(self, int64_t duration_ns):
        """Receives for about `duration_ns` without the GIL, less if a signal comes. OSError if the socket fails; an interface that is down is silent."""
        cdef int result
        with nogil:
            result = packet_ring_run(self.ring, self.assembly.assembly, duration_ns)
        if result < 0:
            raise OSError(-result, "reception failed")

    def statistics(self):
        """Totals since the start: datagrams, buffers (merged datagrams are one), batches, kernel_drops, hardware_merged; `stamped` by kind; `refused` by reason."""
        refused = {refusal_reasons[i].decode(): self.ring.refused[i] for i in range(1, REFUSALS)}
        return _totals(&self.ring.statistics) | {"refused": refused}


cdef dict _totals(const reception_statistics *s):
    return {"datagrams": s.datagrams, "buffers": s.buffers, "batches": s.batches, "kernel_drops": s.kernel_drops, "hardware_merged": s.hardware_merged,
            "stamped": {name: s.stamped[kind] for kind, name in enumerate(STAMP_KINDS)}}
