# cython: language_level=3
# distutils: sources = cext/kernels/convert.c cext/kernels/pgroups.c cext/kernels/samples.c cext/kernels/planes.c
# distutils: depends = cext/kernels/convert.h cext/kernels/pgroups.h cext/kernels/samples.h cext/kernels/planes.h
"""Raw frames of every sampling and depth to planes of octets (narrow range, BT.601): checks the buffers, then calls the kernel without the GIL.

Called by the convert stage. Invariant: no buffer is touched outside its length.
"""
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t


cdef extern from "planes.h" nogil:
    struct planes_colour:
        pass

    planes_colour planes_colour_of(size_t depth, int full, double red, double blue)


cdef extern from "convert.h" nogil:
    enum convert_path:
        CONVERT_SCALAR
        CONVERT_AVX2

    enum convert_sampling:
        CONVERT_422
        CONVERT_444
        CONVERT_420
        CONVERT_RGB

    struct convert_geometry:
        size_t width
        size_t height
        convert_sampling sampling
        size_t depth
        int same_colour
        int field
        size_t luma_stride
        size_t chroma_stride
        size_t u_offset
        size_t v_offset
        planes_colour colour

    bint convert_supported(convert_path path)
    size_t convert_row_bytes(const convert_geometry *geometry)
    size_t convert_scratch_bytes(const convert_geometry *geometry)
    void convert_frame(const convert_geometry *geometry, convert_path path, const uint8_t *raw, uint8_t *planar, void *scratch)


cdef tuple PATHS = (("scalar", CONVERT_SCALAR), ("avx2", CONVERT_AVX2))
cdef dict SAMPLINGS = {"YCbCr-4:2:2": CONVERT_422, "YCbCr-4:4:4": CONVERT_444, "YCbCr-4:2:0": CONVERT_420, "RGB": CONVERT_RGB}


def paths():
    """Names of the code paths that this processor runs, the fastest last."""
    return tuple(name for name, path in PATHS if convert_supported(path))


cdef class Converter:
    """Converts frames of one geometry."""

    cdef convert_geometry geometry
    cdef convert_path chosen
    cdef bytearray scratch
    cdef readonly Py_ssize_t raw_bytes
    cdef readonly Py_ssize_t planar_bytes
    cdef readonly str path

    def __init__(self, str sampling, size_t depth, planes, *, str range="NARROW", tuple luma_weights=(0.299, 0.114), str path=None):
        cdef convert_geometry *geometry = &self.geometry
        if sampling not in SAMPLINGS or depth not in (8, 10, 12, 16):
            raise ValueError(f"{', '.join(SAMPLINGS)} of 8, 10, 12 or 16 bits expected, got {sampling} of {depth}")
        if range not in ("NARROW", "FULL", "FULLPROTECT"):
            raise ValueError(f"range NARROW, FULL or FULLPROTECT expected, got {range}")
        red, blue = luma_weights
        if not (0 < red and 0 < blue and red + blue < 1):
            raise ValueError(f"luma weights of red and blue within 0 and 1 expected, got {red} and {blue}")
        width, height = planes.width, planes.height
        if not 1 <= width <= 32767 or not 1 <= height <= 32767:
            raise ValueError(f"a width and a height up to 32767 expected, got {width}x{height}")
        geometry.width, geometry.height, geometry.sampling, geometry.depth = width, height, SAMPLINGS[sampling], depth
        if width % 2 and geometry.sampling in (CONVERT_422, CONVERT_420) or convert_row_bytes(geometry) * 8 != width * depth * (2 if geometry.sampling == CONVERT_422 else 3):
            raise ValueError(f"a row of {width} pixels is no whole number of pgroups of {sampling} at {depth} bits")
        if height % 2 and geometry.sampling == CONVERT_420:
            raise ValueError(f"{height} rows are no whole number of pgroups of {sampling}")
        geometry.field = planes.chroma_height != (height + 1) // 2
        if geometry.field and (geometry.sampling == CONVERT_420 or planes.chroma_height != height):
            raise ValueError(f"{planes.chroma_height} rows of chroma do not belong to {height} rows of {sampling}")
        if not width <= planes.luma_stride <= 65535 or not (width + 1) // 2 <= planes.chroma_stride <= 65535:
            raise ValueError(f"strides of {planes.luma_stride} and {planes.chroma_stride} octets do not hold rows of {width} pixels")
        chroma_bytes = planes.chroma_height * planes.chroma_stride
        if planes.u_offset < planes.luma_stride * height or planes.v_offset < planes.u_offset + chroma_bytes or planes.v_offset > 1 << 40:
            raise ValueError(f"planes at 0, {planes.u_offset} and {planes.v_offset} overlap")
        geometry.luma_stride, geometry.chroma_stride = planes.luma_stride, planes.chroma_stride
        geometry.u_offset, geometry.v_offset = planes.u_offset, planes.v_offset
        geometry.same_colour = range == "NARROW" and luma_weights == (0.299, 0.114)
        geometry.colour = planes_colour_of(depth, range != "NARROW", red, blue)
        self.raw_bytes = convert_row_bytes(geometry) * (height // 2 if geometry.sampling == CONVERT_420 else height)
        self.planar_bytes = planes.v_offset + chroma_bytes
        self.scratch = bytearray(convert_scratch_bytes(geometry))
        self.path = path or paths()[-1]
        if self.path not in paths():
            raise ValueError(f"this processor runs {', '.join(paths())}, not {self.path}")
        self.chosen = dict(PATHS)[self.path]

    def convert(self, raw, planar):
        """Reads a raw frame (uint8, raw_bytes or more), writes a planar frame (uint8, planar_bytes or more)."""
        cdef Py_buffer source, target
        cdef char *scratch = self.scratch
        PyObject_GetBuffer(raw, &source, PyBUF_SIMPLE)
        try:
            PyObject_GetBuffer(planar, &target, PyBUF_SIMPLE | PyBUF_WRITABLE)
            try:
                if source.len < self.raw_bytes or target.len < self.planar_bytes:
                    raise ValueError(f"{self.raw_bytes} octets to read and {self.planar_bytes} to write expected, got {source.len} and {target.len}")
                with nogil:
                    convert_frame(&self.geometry, self.chosen, <const uint8_t *>source.buf, <uint8_t *>target.buf, scratch)
            finally:
                PyBuffer_Release(&target)
        finally:
            PyBuffer_Release(&source)
