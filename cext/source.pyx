# distutils: sources = cext/kernels/scene.c cext/kernels/packer.c cext/kernels/pacing.c cext/kernels/detour.c
# distutils: libraries = m
# Positions and colours are finite and nobody reads floating-point exceptions; without these options every clamp stays a branch.
# distutils: extra_compile_args = -fno-trapping-math -ffinite-math-only -fno-signed-zeros -fno-math-errno
"""The synthetic source's two native parts: the picture and the paced sending. Used by appliance/source alone.

Invariant: every array that C points into is held by the object that points. Decides nothing: positions, colours
and times come from Python, once a frame.
"""
import os

import numpy as np

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset


cdef extern from "packer.h":
    enum packer_sampling:
        PACKER_422
        PACKER_444
        PACKER_420
    struct packer:
        int32_t sampling
        uint32_t depth
        int32_t plain
        float matrix[3][4]
        float code_min, code_max
    void packer_pack(const packer *, int16_t **, int16_t **, uint32_t, uint32_t, uint8_t *, int)

cdef extern from "scene.h":
    enum:
        SCENE_STRIPS_MAX
        SCENE_DISCS_MAX
        SCENE_PROFILE_STEPS
        SCENE_NOISE_SAMPLES
        SCENE_STAMP_ROWS
        SCENE_STAMP_CELLS
        SCENE_STAMP_CELL_PIXELS
    struct scene_strip:
        float x, y, along_x, along_y, length, half_begin, half_end, feather, opacity, gain_begin, gain_end
        float ridge_period, ridge_depth
        int32_t profile
    struct scene_disc:
        float x, y, radius, feather
        int32_t luma, cb, cr
    struct scene:
        uint32_t width, height
        packer packer
        uint32_t row_bytes, raw_rows, first_row, row_step, paired
        int32_t segmented
        uint32_t texture_stride, margin
        const int16_t *texture[3]
        const float *shift
        const uint8_t *light
        const uint8_t *light_chroma
        const uint32_t *view
        const int16_t *noise
        const void *profiles
        int16_t *rows[2][3]
        uint8_t *frame
        scene_strip strips[SCENE_STRIPS_MAX]
        scene_disc discs[SCENE_DISCS_MAX]
        uint32_t strip_count, disc_count
        int stamped
    void scene_black(scene *)
    void scene_begin(scene *, uint32_t, int)
    void scene_prepare(void *, uint32_t) noexcept nogil
    void scene_stamp(scene *, uint64_t)

cdef extern from "pacing.h":
    ctypedef void pacing_prepare(void *context, uint32_t rows) noexcept nogil
    struct pacing_layout:
        uint32_t row_bytes, rows, pgroup_bytes, pgroup_columns, pgroup_rows
        int second_part, blocks
    struct detour:
        uint64_t packets_sent, packets_lost, packets_refused
    int detour_open(detour *, int, double, int64_t, uint64_t, uint32_t, uint32_t)
    void detour_close(detour *)
    struct pacing:
        detour *detours[2]
        pacing_layout layout
        uint32_t payload_max
        int fd, segmented
        uint32_t packet_count, run_count, burst_packets, sequence, ssrc
        int64_t span_ns, late_ns_max
        uint8_t payload_type
        uint64_t packets_sent, packets_refused, send_calls
    int pacing_open(pacing *, uint8_t *)
    void pacing_close(pacing *)
    int pacing_wait(int64_t) nogil
    int pacing_send(pacing *, int64_t, uint32_t, pacing_prepare *, void *) nogil

STRIPS_MAX, DISCS_MAX, PROFILE_STEPS = SCENE_STRIPS_MAX, SCENE_DISCS_MAX, SCENE_PROFILE_STEPS
NOISE_SAMPLES = SCENE_NOISE_SAMPLES
STAMP_ROWS, STAMP_CELLS, STAMP_CELL_PIXELS = SCENE_STAMP_ROWS, SCENE_STAMP_CELLS, SCENE_STAMP_CELL_PIXELS
_SAMPLINGS = {"4:2:2": PACKER_422, "4:4:4": PACKER_444, "4:2:0": PACKER_420}
_UDP_HEADER_BYTES = 8


cdef void nothing(void *context, uint32_t rows) noexcept nogil:
    pass


cdef class Picture:
    """What Pacing sends: the memory of one part of a frame or of two, and what makes rows of it ready."""
    cdef uint8_t *parts[2]
    cdef pacing_prepare *prepare
    cdef void *context


cdef class Still(Picture):
    cdef object held

    def __init__(self, parts):
        assert len(parts) in (1, 2) and all(part.dtype == np.uint8 and part.flags.c_contiguous for part in parts)
        self.held = parts
        for index in range(2):
            self.parts[index] = <uint8_t *><size_t>parts[index % len(parts)].ctypes.data
        self.prepare, self.context = nothing, NULL


cdef class Scene(Picture):
    cdef scene scene
    cdef readonly object frame
    cdef object held

    def __init__(self, format, coding, texture, uint32_t margin, light, light_chroma, view, noise, profiles, bint stamped=False):
        cdef uint32_t width = format.width, height = format.height
        cdef uint32_t raw_rows = format.wire_rows() // format.pgroup.rows
        self.frame = np.zeros(format.raw_row_bytes * raw_rows, np.uint8)
        shift = np.zeros((height, 2), np.float32)
        rows = [np.zeros(width >> (index % 3 > 0), np.int16) for index in range(6)]
        self.held = (texture, light, light_chroma, view, noise, profiles, shift, rows)
        stride = width + 2 * margin
        expected = [
            (texture[0], np.int16, (height + 2 * margin, stride)), (texture[1], np.int16, (height + 2 * margin, stride // 2)),
            (texture[2], np.int16, (height + 2 * margin, stride // 2)), (light, np.uint8, (height, width)),
            (light_chroma, np.uint8, (height, width // 2)), (view, np.uint32, (height, 2)),
            (noise, np.int16, (SCENE_NOISE_SAMPLES + width,)),
            (profiles, np.float32, (len(profiles), 3, SCENE_PROFILE_STEPS)),
        ]
        for array, kind, shape in expected:
            assert array.dtype == kind and array.shape == shape and array.flags.c_contiguous, (array.dtype, array.shape, kind, shape)
        # Safety: raw rows are packed in fours of columns, or up to the width.
        assert width % 2 == 0 and margin % 2 == 0 and view.max() <= width and not (view[view != width] % 4).any()
        assert not stamped or (width >= SCENE_STAMP_CELLS * SCENE_STAMP_CELL_PIXELS and height >= SCENE_STAMP_ROWS)

        self.scene.width, self.scene.height = width, height
        self.scene.row_bytes, self.scene.texture_stride, self.scene.margin = format.raw_row_bytes, stride, margin
        self.scene.raw_rows, self.scene.paired, self.scene.segmented = raw_rows, format.pgroup.rows - 1, format.segmented
        self.scene.row_step = 2 if format.interlaced or format.pgroup.rows == 2 else 1
        self._set_coding(format, coding)
        for index in range(3):
            self.scene.texture[index] = <const int16_t *><size_t>texture[index].ctypes.data
        for index in range(6):
            self.scene.rows[index // 3][index % 3] = <int16_t *><size_t>rows[index].ctypes.data
        self.scene.shift = <const float *><size_t>shift.ctypes.data
        self.scene.light = <const uint8_t *><size_t>light.ctypes.data
        self.scene.light_chroma = <const uint8_t *><size_t>light_chroma.ctypes.data
        self.scene.view = <const uint32_t *><size_t>view.ctypes.data
        self.scene.noise = <const int16_t *><size_t>noise.ctypes.data
        self.scene.profiles = <const void *><size_t>profiles.ctypes.data
        self.scene.frame = <uint8_t *><size_t>self.frame.ctypes.data
        self.scene.stamped = stamped
        self.parts[0] = self.parts[1] = self.scene.frame
        self.prepare, self.context = scene_prepare, &self.scene
        scene_black(&self.scene)

    def _set_coding(self, format, coding):
        matrix, code_min, code_max = coding
        self.scene.packer.sampling = _SAMPLINGS["4:4:4" if format.sampling == "RGB" else format.sampling[-5:]]
        self.scene.packer.depth = format.depth
        self.scene.packer.plain = format.sampling == "YCbCr-4:2:2" and format.depth in (8, 10) and format.range == "NARROW"
        for index in range(3):
            for place in range(4):
                self.scene.packer.matrix[index][place] = matrix[index][place]
        self.scene.packer.code_min, self.scene.packer.code_max = code_min, code_max

    def begin(self, shift, strips, discs, uint32_t noise_seed, bint second_part=False):
        cdef uint32_t index
        held_shift, profiles = self.held[6], self.held[5]
        assert len(strips) <= SCENE_STRIPS_MAX and len(discs) <= SCENE_DISCS_MAX
        # Safety: a texel is read one to the right of and one below the moved place.
        np.clip(shift, 1.0 - self.scene.margin, self.scene.margin - 2.0, out=held_shift)
        for index, strip in enumerate(strips):
            assert 0 <= strip[-1] < len(profiles)
            target = &self.scene.strips[index]
            (target.x, target.y, target.along_x, target.along_y, target.length, target.half_begin, target.half_end,
             target.feather, target.opacity, target.gain_begin, target.gain_end, target.ridge_period, target.ridge_depth,
             target.profile) = strip
        for index, disc in enumerate(discs):
            spot = &self.scene.discs[index]
            spot.x, spot.y, spot.radius, spot.feather, spot.luma, spot.cb, spot.cr = disc
        self.scene.strip_count, self.scene.disc_count = len(strips), len(discs)
        scene_begin(&self.scene, noise_seed, second_part)

    def finish(self):
        scene_prepare(&self.scene, self.scene.raw_rows)
        return self.frame

    def stamp(self, uint64_t microseconds):
        assert self.scene.width >= SCENE_STAMP_CELLS * SCENE_STAMP_CELL_PIXELS and self.scene.height >= SCENE_STAMP_ROWS
        scene_stamp(&self.scene, microseconds)

    def pack(self, upper, lower, bint simd):
        cdef int16_t *above[3]
        cdef int16_t *below[3]
        for index in range(3):
            for row in (upper, lower):
                assert row[index].dtype == np.int16 and row[index].shape == (self.scene.width >> (index > 0),) and row[index].flags.c_contiguous
            above[index], below[index] = <int16_t *><size_t>upper[index].ctypes.data, <int16_t *><size_t>lower[index].ctypes.data
        packed = np.zeros(self.scene.row_bytes, np.uint8)
        packer_pack(&self.scene.packer, above, below, 0, self.scene.width, <uint8_t *><size_t>packed.ctypes.data, simd)
        return packed


cdef class Detour:
    cdef detour detour

    def __cinit__(self, int fd, double loss, int64_t late_ns, uint64_t seed, uint32_t capacity, uint32_t maxudp):
        assert 0 <= loss <= 1 and late_ns >= 0 and capacity
        if detour_open(&self.detour, fd, loss, late_ns, seed, capacity, maxudp - _UDP_HEADER_BYTES) < 0:
            detour_close(&self.detour)
            raise MemoryError

    def __dealloc__(self):
        detour_close(&self.detour)

    @property
    def packets_sent(self):
        return self.detour.packets_sent

    @property
    def packets_lost(self):
        return self.detour.packets_lost


cdef class Pacing:
    cdef pacing pacing
    cdef Picture picture
    cdef tuple detours

    def __cinit__(self):
        memset(&self.pacing, 0, sizeof(self.pacing))

    def __init__(self, Picture picture not None, format, int fd, int64_t span_ns, uint8_t payload_type, uint32_t ssrc, uint32_t sequence,
                 bint segmented=True, bint second_part=False, uint32_t maxudp=1460, tuple detours=()):
        assert self.pacing.packet_count == 0 and span_ns > 0 and payload_type < 128
        self.picture = picture
        self.pacing.fd, self.pacing.segmented, self.pacing.span_ns = fd, segmented, span_ns
        self.pacing.payload_type, self.pacing.ssrc, self.pacing.sequence = payload_type, ssrc, sequence
        self.pacing.payload_max = maxudp - _UDP_HEADER_BYTES
        # Safety: these live as long as this does, and their slots take its packets.
        self.detours = detours
        assert len(detours) <= 2
        for number, way in enumerate(detours):
            self.pacing.detours[number] = &(<Detour?>way).detour
        pgroup = format.pgroup
        # Safety: a packet holds a pgroup at least, and its parts fit their 16-bit lengths.
        assert 100 <= maxudp <= 8960 and pgroup.octets <= 16
        self.pacing.layout = pacing_layout(format.raw_row_bytes, format.wire_rows(second_part) // pgroup.rows, pgroup.octets, pgroup.columns, pgroup.rows,
                                           second_part, format.packing == "2110BPM")
        if pacing_open(&self.pacing, picture.parts[second_part]) < 0:
            raise MemoryError

    def __dealloc__(self):
        pacing_close(&self.pacing)

    def send(self, int64_t clock_ns, uint32_t rtp_timestamp):
        cdef int error
        with nogil:
            error = pacing_send(&self.pacing, clock_ns, rtp_timestamp, self.picture.prepare, self.picture.context)
        if error:
            raise OSError(error, f"sending video packets: {os.strerror(error)}")

    @property
    def packet_count(self):
        return self.pacing.packet_count

    @property
    def packets_sent(self):
        return self.pacing.packets_sent

    @property
    def packets_refused(self):
        return self.pacing.packets_refused

    @property
    def segmented(self):
        return bool(self.pacing.segmented)

    @property
    def sequence(self):
        return self.pacing.sequence

    @sequence.setter
    def sequence(self, uint32_t sequence):
        self.pacing.sequence = sequence

    def take_late_ns(self):
        late_ns = self.pacing.late_ns_max
        self.pacing.late_ns_max = 0
        return late_ns


def wait_until(int64_t clock_ns):
    cdef int interrupted
    with nogil:
        interrupted = pacing_wait(clock_ns)
    return interrupted == 0
