# cython: language_level=3
# distutils: sources = cext/kernels/scale.c
# distutils: depends = cext/kernels/scale.h
"""I420 to I420 of another size: halved as often as fits, then by area what is left, or enlarged up to twice. Checks the buffers, then calls the kernels without the GIL.

Called by the convert stage for rasters that are higher than the encoders may have or whose pixels are not square, and by the encode stage for its small rendition.
Invariant: no buffer is touched outside its length.
"""
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t


cdef extern from "scale.h" nogil:
    enum scale_path:
        SCALE_SCALAR
        SCALE_AVX2

    struct scale_plane:
        size_t width
        size_t height
        size_t source_stride
        size_t target_stride

    struct scale_cover:
        pass

    struct scale_block:
        pass

    struct scale_area:
        scale_plane plane
        size_t source_width
        size_t source_height
        scale_cover *columns
        scale_cover *rows
        scale_block *blocks
        uint8_t *row

    bint scale_supported(scale_path path)
    void scale_halve(const scale_plane *plane, scale_path path, const uint8_t *source, uint8_t *target)
    size_t scale_row_bytes(size_t source_width)
    void scale_prepare(const scale_area *area)
    void scale_by_area(const scale_area *area, scale_path path, const uint8_t *source, uint8_t *target)


cdef tuple PATHS = (("scalar", SCALE_SCALAR), ("avx2", SCALE_AVX2))


def paths():
    """Names of the code paths that this processor runs, the fastest last."""
    return tuple(name for name, path in PATHS if scale_supported(path))


cdef class _Layout:
    """I420 between two steps: rows without padding."""

    cdef public size_t width, height, luma_stride, chroma_stride, luma_offset, u_offset, v_offset, frame_bytes

    def __init__(self, size_t width, size_t height):
        self.width, self.height, self.luma_stride, self.chroma_stride = width, height, width, width // 2
        self.luma_offset, self.u_offset = 0, width * height
        self.v_offset = self.u_offset + width // 2 * (height // 2)
        self.frame_bytes = self.v_offset + width // 2 * (height // 2)


cdef class _Step:
    """One pass over the three planes."""

    cdef bint by_area
    cdef scale_area planes[3]
    cdef size_t source_offsets[3]
    cdef size_t target_offsets[3]
    cdef scale_path path
    cdef list memory
    cdef readonly object target

    def __init__(self, source, target, bint by_area, scale_path path):
        cdef size_t columns, rows, size
        self.by_area, self.path, self.target, self.memory = by_area, path, target, []
        self.source_offsets = [source.luma_offset, source.u_offset, source.v_offset]
        self.target_offsets = [target.luma_offset, target.u_offset, target.v_offset]
        for plane in range(3):
            half = 2 if plane else 1
            area = &self.planes[plane]
            area.plane = scale_plane(target.width // half, target.height // half, source.chroma_stride if plane else source.luma_stride,
                                     target.chroma_stride if plane else target.luma_stride)
            # An odd last column or row has no chroma of its own to cover.
            area.source_width, area.source_height = source.width // half, source.height // half
            if by_area:
                columns, rows = area.plane.width, area.plane.height
                area.columns = <scale_cover *>self._keep(columns * sizeof(scale_cover))
                area.rows = <scale_cover *>self._keep(rows * sizeof(scale_cover))
                area.blocks = <scale_block *>self._keep((columns + 15) // 16 * sizeof(scale_block))
                area.row = <uint8_t *>self._keep(scale_row_bytes(area.source_width))
                scale_prepare(area)

    cdef void *_keep(self, size_t size) except NULL:
        # Safety: nobody resizes it, and it lives as long as the step.
        cdef bytearray memory = bytearray(size)
        self.memory.append(memory)
        return <char *>memory

    cdef void run(self, const uint8_t *source, uint8_t *target) noexcept nogil:
        cdef int plane
        for plane in range(3):
            if self.by_area:
                scale_by_area(&self.planes[plane], self.path, source + self.source_offsets[plane], target + self.target_offsets[plane])
            else:
                scale_halve(&self.planes[plane].plane, self.path, source + self.source_offsets[plane], target + self.target_offsets[plane])


cdef class Scaler:
    """Scales frames of one geometry. `source` and `target` describe I420 as appliance.frame.PlanarFormat does."""

    cdef list steps
    cdef list between
    cdef readonly Py_ssize_t source_bytes
    cdef readonly Py_ssize_t target_bytes
    cdef readonly str path

    def __init__(self, source, target, *, str path=None):
        if target.width < 2 or target.height < 2 or target.width % 2 or target.height % 2:
            raise ValueError(f"an even raster to scale to expected, got {target.width}x{target.height}")
        self.path = path or paths()[-1]
        if self.path not in paths():
            raise ValueError(f"this processor runs {', '.join(paths())}, not {self.path}")
        chosen = dict(PATHS)[self.path]
        self.source_bytes, self.target_bytes = source.frame_bytes, target.frame_bytes
        self.steps, at, wanted = [], source, (target.width, target.height)
        while at.width // 4 * 2 >= target.width and at.height // 4 * 2 >= target.height:
            halved = at.width // 4 * 2, at.height // 4 * 2
            step = _Step(at, target if halved == wanted else _Layout(*halved), False, chosen)
            self.steps.append(step)
            at = step.target
        # Sides that shrink by different factors: the pixels become square as well.
        while (at.width > 2 * target.width or at.height > 2 * target.height) and at.width <= 4 * target.width and at.height <= 4 * target.height:
            step = _Step(at, _Layout(max((at.width + 3) // 4 * 2, target.width), max((at.height + 3) // 4 * 2, target.height)), True, chosen)
            self.steps.append(step)
            at = step.target
        if (at.width // 2 * 2, at.height // 2 * 2) != wanted or not self.steps:
            if min(at.width, at.height) < 2 or not (target.width <= 2 * at.width and at.width <= 2 * target.width and target.height <= 2 * at.height and at.height <= 2 * target.height):
                raise ValueError(f"{source.width}x{source.height} cannot be made {target.width}x{target.height}")
            self.steps.append(_Step(at, target, True, chosen))
        self.between = [bytearray(step.target.frame_bytes) for step in self.steps[:-1]]

    def scale(self, source, target):
        """Reads a planar frame (uint8, source_bytes or more), writes one of the other size (uint8, target_bytes or more)."""
        cdef Py_buffer read, written
        cdef const uint8_t *at
        cdef uint8_t *to
        cdef _Step step
        PyObject_GetBuffer(source, &read, PyBUF_SIMPLE)
        try:
            PyObject_GetBuffer(target, &written, PyBUF_SIMPLE | PyBUF_WRITABLE)
            try:
                if read.len < self.source_bytes or written.len < self.target_bytes:
                    raise ValueError(f"{self.source_bytes} octets to read and {self.target_bytes} to write expected, got {read.len} and {written.len}")
                at = <const uint8_t *>read.buf
                for number in range(len(self.steps)):
                    step = self.steps[number]
                    to = <uint8_t *>written.buf if number == len(self.between) else <uint8_t *><char *>(<bytearray>self.between[number])
                    with nogil:
                        step.run(at, to)
                    at = to
            finally:
                PyBuffer_Release(&written)
        finally:
            PyBuffer_Release(&read)
