# cython: language_level=3
# distutils: sources = cext/kernels/scale.c
# distutils: depends = cext/kernels/scale.h
"""I420 to I420 of half the width and height: checks the buffers, then calls the kernel without the GIL.

Called by the encode stage for its small rendition. Invariant: no buffer is touched outside its length.
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

    bint scale_supported(scale_path path)
    void scale_halve(const scale_plane *plane, scale_path path, const uint8_t *source, uint8_t *target)


cdef tuple PATHS = (("scalar", SCALE_SCALAR), ("avx2", SCALE_AVX2))


def paths():
    """Names of the code paths that this processor runs, the fastest last."""
    return tuple(name for name, path in PATHS if scale_supported(path))


cdef class Scaler:
    """Halves frames of one geometry. `source` and `target` describe I420 as appliance.frame.PlanarFormat does; what of the source
    lies beyond twice the target's even width and height is left out. ValueError if the source has less than that."""

    cdef scale_plane luma
    cdef scale_plane chroma
    cdef size_t source_offsets[3]
    cdef size_t target_offsets[3]
    cdef scale_path chosen
    cdef readonly Py_ssize_t source_bytes
    cdef readonly Py_ssize_t target_bytes
    cdef readonly str path

    def __init__(self, source, target, *, str path=None):
        if target.width < 2 or target.height < 2 or target.width % 2 or target.height % 2:
            raise ValueError(f"an even raster to scale to expected, got {target.width}x{target.height}")
        if source.width < 2 * target.width or source.height < 2 * target.height:
            raise ValueError(f"{source.width}x{source.height} is not twice {target.width}x{target.height}")
        self.luma = scale_plane(target.width, target.height, source.luma_stride, target.luma_stride)
        self.chroma = scale_plane(target.width // 2, target.height // 2, source.chroma_stride, target.chroma_stride)
        self.source_offsets = [source.luma_offset, source.u_offset, source.v_offset]
        self.target_offsets = [target.luma_offset, target.u_offset, target.v_offset]
        self.source_bytes, self.target_bytes = source.frame_bytes, target.frame_bytes
        self.path = path or paths()[-1]
        if self.path not in paths():
            raise ValueError(f"this processor runs {', '.join(paths())}, not {self.path}")
        self.chosen = dict(PATHS)[self.path]

    def scale(self, source, target):
        """Reads a planar frame (uint8, source_bytes or more), writes one of half the size (uint8, target_bytes or more)."""
        cdef Py_buffer read, written
        PyObject_GetBuffer(source, &read, PyBUF_SIMPLE)
        try:
            PyObject_GetBuffer(target, &written, PyBUF_SIMPLE | PyBUF_WRITABLE)
            try:
                if read.len < self.source_bytes or written.len < self.target_bytes:
                    raise ValueError(f"{self.source_bytes} octets to read and {self.target_bytes} to write expected, got {read.len} and {written.len}")
                with nogil:
                    self._halve(<const uint8_t *>read.buf, <uint8_t *>written.buf)
            finally:
                PyBuffer_Release(&written)
        finally:
            PyBuffer_Release(&read)

    cdef void _halve(self, const uint8_t *source, uint8_t *target) noexcept nogil:
        scale_halve(&self.luma, self.chosen, source + self.source_offsets[0], target + self.target_offsets[0])
        for plane in range(1, 3):
            scale_halve(&self.chroma, self.chosen, source + self.source_offsets[plane], target + self.target_offsets[plane])
