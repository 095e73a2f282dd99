# cython: language_level=3
# distutils: sources = cext/kernels/convert.c
# distutils: depends = cext/kernels/convert.h
"""Packed 4:2:2 to I420: checks the buffers, then calls the kernel without the GIL.

Called by the convert stage. Invariant: no buffer is touched outside its length. Does no colour conversion.
"""
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t


cdef extern from "convert.h" nogil:
    enum convert_path:
        CONVERT_SCALAR
        CONVERT_AVX2
        CONVERT_AVX512

    struct convert_geometry:
        size_t width
        size_t height
        size_t depth
        size_t luma_stride
        size_t chroma_stride
        size_t u_offset
        size_t v_offset

    bint convert_supported(convert_path path)
    void convert_frame(const convert_geometry *geometry, convert_path path, const uint8_t *raw, uint8_t *planar)


cdef tuple PATHS = (("scalar", CONVERT_SCALAR), ("avx2", CONVERT_AVX2), ("avx512", CONVERT_AVX512))


def paths():
    """Names of the code paths that this processor runs, the fastest last."""
    return tuple(name for name, path in PATHS if convert_supported(path))


cdef class Converter:
    """Converts frames of one geometry."""

    cdef convert_geometry geometry
    cdef convert_path chosen
    cdef readonly Py_ssize_t raw_bytes
    cdef readonly Py_ssize_t planar_bytes
    cdef readonly str path

    def __init__(self, size_t width, size_t height, size_t depth, size_t luma_stride, size_t chroma_stride,
                 size_t u_offset, size_t v_offset, *, str path=None):
        if depth not in (8, 10):
            raise ValueError(f"4:2:2 of 8 or 10 bits expected, got {depth}")
        if not 2 <= width <= 32767 or width % 2 or not 1 <= height <= 32767:
            raise ValueError(f"an even width and a height up to 32767 expected, got {width}x{height}")
        if not width <= luma_stride <= 65535 or not width // 2 <= chroma_stride <= 65535:
            raise ValueError(f"strides of {luma_stride} and {chroma_stride} octets do not hold rows of {width} pixels")
        chroma_bytes = (height + 1) // 2 * chroma_stride
        if u_offset < luma_stride * height or v_offset < u_offset + chroma_bytes or v_offset > 1 << 40:
            raise ValueError(f"planes at 0, {u_offset} and {v_offset} overlap")
        self.geometry = convert_geometry(width, height, depth, luma_stride, chroma_stride, u_offset, v_offset)
        self.raw_bytes = width * height * depth // 4
        self.planar_bytes = v_offset + chroma_bytes
        self.path = path or paths()[-1]
        if self.path not in paths():
            raise ValueError(f"this processor runs {', '.join(paths())}, not {self.path}")
        self.chosen = dict(PATHS)[self.path]

    def convert(self, raw, planar):
        """Reads a raw frame (uint8, raw_bytes or more), writes a planar frame (uint8, planar_bytes or more)."""
        cdef Py_buffer source, target
        PyObject_GetBuffer(raw, &source, PyBUF_SIMPLE)
        try:
            PyObject_GetBuffer(planar, &target, PyBUF_SIMPLE | PyBUF_WRITABLE)
            try:
                if source.len < self.raw_bytes or target.len < self.planar_bytes:
                    raise ValueError(f"{self.raw_bytes} octets to read and {self.planar_bytes} to write expected, got {source.len} and {target.len}")
                with nogil:
                    convert_frame(&self.geometry, self.chosen, <const uint8_t *>source.buf, <uint8_t *>target.buf)
            finally:
                PyBuffer_Release(&target)
        finally:
            PyBuffer_Release(&source)
