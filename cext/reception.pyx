# distutils: sources = cext/kernels/reception.c cext/kernels/udp_inlet.c cext/kernels/packet_ring.c cext/kernels/ip_datagram.c cext/kernels/arrival.c cext/kernels/assembly.c cext/kernels/paths.c cext/kernels/survey.c cext/kernels/sequence.c cext/kernels/rfc4175.c cext/kernels/ring_sink.c cext/kernels/ring.c cext/kernels/timing.c
# distutils: extra_compile_args = -flto
# distutils: extra_link_args = -O3 -flto -flto-partition=one
# cython: embedsignature=True
"""Reception of one uncompressed video flow: sockets or packet rings, one a path -> assembly -> raw ring, all in C with the GIL released.

The ingest stage calls receive() and then moves Assembly.statistics() to its counters; nothing in Python runs per packet. Its kernels are linked as a whole: they call each
other several times a packet.
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

cdef extern from "paths.h" nogil:
    enum: PATHS_MAX, SKEWS_MAX
    struct path_statistics:
        uint64_t packets, first, duplicate, reordered, late, lost, recovered
        uint64_t malformed[15]
    struct path:
        path_statistics statistics
    struct paths:
        uint32_t count, skew_count
        int64_t skews_ns[64]
        path each[2]

cdef extern from "assembly.h" nogil:
    struct frame_sink:
        pass
    struct assembly_statistics:
        uint64_t packets, octets, redundant, differing, surplus
        uint64_t frames, incomplete, second_fields, no_slot, sparse, rows_missing, restarts, outages, markers_early, high_half_wrong, arrival_timed
    struct sequence_window:
        uint64_t lost
    struct survey:
        c_bool wanted
        uint32_t packets, timestamps, span, shared
        uint32_t rows_end[2]
        c_bool odd_rows
        uint32_t step_pixels, step_octets, far_offset, far_length
    void survey_begin(survey *s)
    struct assembly:
        survey survey
        uint32_t rate_hz, mediaclk_offset
        int64_t frame_interval_ns, capture_early_ns_max, capture_late_ns_max, transit_ns
        timing timing[2]
        assembly_statistics statistics
        sequence_window window
        paths paths
    assembly *assembly_new(const raster *r, const frame_sink *sink, uint8_t payload_type, const uint8_t *neutral)
    void assembly_free(assembly *a)
    c_bool assembly_protect(assembly *a, uint8_t payload_type, uint32_t ssrc_difference, int64_t skew_ns, uint32_t frames_open)
    void assembly_packet(assembly *a, uint32_t path, const uint8_t *packet, size_t length, const instant *now)
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
    struct inlet:
        reception_statistics statistics
    int reception_run(inlet *const *inlets, uint32_t count, assembly *a, int64_t duration_ns)

cdef extern from "udp_inlet.h" nogil:
    struct udp_inlet:
        pass
    udp_inlet *udp_inlet_new(int fd, uint32_t path)
    void udp_inlet_free(udp_inlet *u)

cdef extern from "ip_datagram.h" nogil:
    enum: REFUSALS
    const char *refusal_reasons[]

cdef extern from "packet_ring.h" nogil:
    enum: RING_BLOCK_BYTES, RING_BLOCK_TIMEOUT_MS
    struct packet_ring:
        uint64_t refused[16]
    packet_ring *packet_ring_new(int fd, uint32_t blocks, c_bool merged, uint32_t path)
    void packet_ring_free(packet_ring *r)

cdef dict SCANS = {"p": SCAN_PROGRESSIVE, "i": SCAN_INTERLACED, "PsF": SCAN_SEGMENTED}
BLOCK_BYTES, BLOCK_TIMEOUT_MS = RING_BLOCK_BYTES, RING_BLOCK_TIMEOUT_MS
# What a packet's time may rest on, from the best to the humblest.
STAMP_KINDS = tuple(stamp_kinds[kind].decode() for kind in range(<int>STAMPS))


cdef class Assembly:
    """Raw frames of one flow, assembled from packets into the slots of a raw ring (policy LATEST, row after row of packed pgroups).

    `scan` as VideoFormat.scan: "i" makes a raw frame of every field, "PsF" weaves the segments. `neutral_pgroup` is a grey pgroup for holes that
    nothing young fills. `frame_interval_ns`, from one raw frame to the next, lengthens the wait for a slow frame's end. The first sender that comes
    is followed, whatever its SSRC. A `second_payload_type` says that a second path brings the same packets, at most `skew_ns` sooner or later, its
    SSRC another one in the bits of `second_ssrc_difference`; `frames_open` raw frames may then wait for it.
    ValueError if the raster is impossible or a slot is too small for it.
    """
    cdef assembly *assembly
    cdef ring_sink sink
    cdef readonly RingWriter writer

    def __cinit__(self, RingWriter writer not None, *, uint32_t width, uint32_t height, uint32_t pgroup_bytes, uint32_t pgroup_columns,
                  uint32_t pgroup_rows, str scan, uint8_t payload_type, bytes neutral_pgroup, uint32_t rate_hz=90000, uint32_t mediaclk_offset=0,
                  int64_t frame_interval_ns=0, second_payload_type=None, uint32_t second_ssrc_difference=0, int64_t skew_ns=0, uint32_t frames_open=2):
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
        if second_payload_type is not None and not assembly_protect(self.assembly, second_payload_type, second_ssrc_difference, skew_ns, frames_open):
            raise MemoryError("no memory for the frames that wait for the second path")
        ring_sink_resume(&self.sink, self.assembly)

    def __dealloc__(self):
        if self.assembly != NULL:
            assembly_free(self.assembly)

    @property
    def path_count(self):
        """By how many paths the flow comes."""
        return self.assembly.paths.count

    def packet(self, const uint8_t[::1] packet not None, int64_t tai_ns, int64_t monotonic_ns, str kind="kernel", uint32_t path=0):
        """Takes one UDP payload that arrived at this time, `kind` of STAMP_KINDS, by the first path (0) or the second (1). For tests and replays;
        receive() does the same without Python."""
        if path >= self.assembly.paths.count:
            raise ValueError(f"path {path} of a flow with {self.assembly.paths.count}")
        cdef instant now = instant(tai_ns, monotonic_ns, <stamp><int>STAMP_KINDS.index(kind))
        assembly_packet(self.assembly, path, &packet[0] if packet.shape[0] else NULL, packet.shape[0], &now)

    def tick(self, int64_t monotonic_ns):
        """Closes frames that waited too long for their end."""
        assembly_tick(self.assembly, monotonic_ns)

    def statistics(self):
        """Totals since the start, by name; `malformed` is a dict by reason. `paths` has a dict for each path; the flow's `duplicate`, `reordered`, `late`
        and `malformed` are the sums of theirs."""
        cdef assembly_statistics *s = &self.assembly.statistics
        paths = [_path_totals(&self.assembly.paths.each[number].statistics) for number in range(self.assembly.paths.count)]
        summed = {name: sum(path[name] for path in paths) for name in ("duplicate", "reordered", "late")}
        malformed = {reason: sum(path["malformed"][reason] for path in paths) for reason in paths[0]["malformed"]}
        return summed | {
            "packets": s.packets, "octets": s.octets, "lost": self.assembly.window.lost, "redundant": s.redundant, "differing": s.differing,
            "surplus": s.surplus, "frames": s.frames, "incomplete": s.incomplete, "second_fields": s.second_fields, "no_slot": s.no_slot,
            "sparse": s.sparse, "rows_missing": s.rows_missing, "restarts": s.restarts, "outages": s.outages,
            "markers_early": s.markers_early, "high_half_wrong": s.high_half_wrong, "arrival_timed": s.arrival_timed,
            "malformed": malformed, "paths": paths,
        }

    def take_skews_ns(self):
        """Nanoseconds by which the second path was later (negative: sooner) with a packet, measured since the last call; at most 64 of them."""
        skews = [self.assembly.paths.skews_ns[i] for i in range(self.assembly.paths.skew_count)]
        self.assembly.paths.skew_count = 0
        return skews

    def measure(self, schedule):
        """Measures the sender's timing against this appliance.protocol.timing.Schedule from now on."""
        cdef timing_schedule made = timing_schedule_of(schedule)
        for path in range(<int>PATHS_MAX):
            timing_begin(&self.assembly.timing[path], &made)

    def take_timing(self, uint32_t path=0):
        """What was measured of a path since the last call, as cext.timing.Timing.take()."""
        _check_path(self, path)
        return timing_dict(&self.assembly.timing[path])

    def believe(self, int64_t early_ns_max, int64_t late_ns_max):
        """Takes RTP times for capture times from now on if they lie at most so long after, and before, the arrival; else the arrival."""
        self.assembly.capture_early_ns_max, self.assembly.capture_late_ns_max = early_ns_max, late_ns_max

    @property
    def transit_ns(self):
        """From the last frame's RTP time to the arrival of its first packet, believed or not."""
        return self.assembly.transit_ns

    def survey(self):
        """What all packets since the last call say of their raster, by the names of struct survey; begins the next while. None at the first call."""
        cdef survey *s = &self.assembly.survey
        seen = None
        if s.packets:
            seen = {"packets": s.packets, "timestamps": s.timestamps, "span": s.span, "shared": s.shared, "rows_end": (s.rows_end[0], s.rows_end[1]),
                    "odd_rows": bool(s.odd_rows), "step_pixels": s.step_pixels, "step_octets": s.step_octets, "far_offset": s.far_offset,
                    "far_length": s.far_length}
        survey_begin(s)
        return seen

    def end_survey(self):
        """Looks no more."""
        self.assembly.survey.wanted = False

    def flag_frames(self, uint32_t flags):
        """Sets these flags of a slot header in every frame from now on, besides its own."""
        self.sink.flags = flags

    def take_latencies_ns(self):
        """Nanoseconds from capture to publish of the frames since the last call; at most the first 64 of them."""
        latencies = [self.sink.latencies_ns[i] for i in range(self.sink.latency_count)]
        self.sink.latency_count = 0
        return latencies


cdef class Inlet:
    """A way into an assembly for the packets of one path: a Reception or a PacketRing."""
    cdef inlet *inlet
    cdef readonly Assembly assembly

    def run(self, int64_t duration_ns):
        """receive() by this way alone."""
        receive([self], duration_ns)


def receive(list inlets not None, int64_t duration_ns):
    """Receives by these ways, at most one a path and all into one assembly, for about `duration_ns` without the GIL, less if a signal comes. OSError if
    one of them fails; an interface that is down is silent."""
    cdef inlet *running[2]
    cdef Inlet way
    cdef uint32_t count = 0
    cdef Assembly target
    cdef int result
    if not 1 <= len(inlets) <= PATHS_MAX or any(each.assembly is not inlets[0].assembly for each in inlets):
        raise ValueError("one way in or two, into one assembly")
    target = inlets[0].assembly
    for way in inlets:
        running[count] = way.inlet
        count += 1
    with nogil:
        result = reception_run(running, count, target.assembly, duration_ns)
    if result < 0:
        raise OSError(-result, "reception failed")


cdef class Reception(Inlet):
    """Batches of datagrams from a bound UDP socket into an assembly. The socket stays the caller's and must outlive this."""
    cdef udp_inlet *udp

    def __cinit__(self, int fd, Assembly assembly not None, uint32_t path=0):
        self.assembly = assembly
        _check_path(assembly, path)
        self.udp = udp_inlet_new(fd, path)
        if self.udp == NULL:
            raise MemoryError("no memory for the reception buffers")
        self.inlet = <inlet *>self.udp

    def __dealloc__(self):
        if self.udp != NULL:
            udp_inlet_free(self.udp)

    def statistics(self):
        """Totals since the start: datagrams, buffers (merged datagrams are one), batches, kernel_drops, hardware_merged; `stamped` by kind; `refused` by
        reason, which the kernel counts."""
        return _totals(&self.inlet.statistics) | {"refused": {}}


cdef class PacketRing(Inlet):
    """Batches of datagrams from a bound packet socket's TPACKET_V3 ring of `blocks` into an assembly. The socket stays the caller's and must outlive this.

    `merged`: the socket has PACKET_VNET_HDR set. OSError if the ring cannot be mapped.
    """
    cdef packet_ring *ring

    def __cinit__(self, int fd, uint32_t blocks, bint merged, Assembly assembly not None, uint32_t path=0):
        self.assembly = assembly
        _check_path(assembly, path)
        self.ring = packet_ring_new(fd, blocks, merged, path)
        if self.ring == NULL:
            PyErr_SetFromErrno(OSError)
        self.inlet = <inlet *>self.ring

    def __dealloc__(self):
        if self.ring != NULL:
            packet_ring_free(self.ring)

    def statistics(self):
        """Totals since the start: datagrams, buffers (merged datagrams are one), batches, kernel_drops, hardware_merged; `stamped` by kind; `refused` by reason."""
        refused = {refusal_reasons[i].decode(): self.ring.refused[i] for i in range(1, REFUSALS)}
        return _totals(&self.inlet.statistics) | {"refused": refused}


cdef int _check_path(Assembly assembly, uint32_t path) except -1:
    # Safety: what bounds every look at a path's own state.
    if path >= assembly.assembly.paths.count:
        raise ValueError(f"path {path} of a flow with {assembly.assembly.paths.count}")
    return 0


cdef dict _path_totals(const path_statistics *s):
    return {"packets": s.packets, "first": s.first, "duplicate": s.duplicate, "reordered": s.reordered, "late": s.late, "lost": s.lost,
            "recovered": s.recovered, "malformed": {malformed_reasons[i].decode(): s.malformed[i] for i in range(1, MALFORMED_REASONS)}}


cdef dict _totals(const reception_statistics *s):
    return {"datagrams": s.datagrams, "buffers": s.buffers, "batches": s.batches, "kernel_drops": s.kernel_drops, "hardware_merged": s.hardware_merged,
            "stamped": {name: s.stamped[kind] for kind, name in enumerate(STAMP_KINDS)}}
