# cython: language_level=3
# distutils: sources = cext/kernels/bob.c
# distutils: depends = cext/kernels/bob.h
"""Fields to pictures of full height (4:2:2 to 4:2:0, 8 bit): keeps the last fields, checks the buffers, calls the kernel without the GIL.

Called by the convert stage. Invariant: no buffer is touched outside its length; a field is compared only with those that came just before it.
"""
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t


cdef extern from "bob.h" nogil:
    enum bob_path:
        BOB_SCALAR
        BOB_AVX2

    enum:
        BOB_FIELDS

    struct bob_plane:
        size_t width
        size_t height
        size_t field_stride
        size_t target_stride

    bint bob_supported(bob_path path)
    void bob_luma(const bob_plane *plane, bob_path path, int second, const uint8_t **fields, uint8_t *target)
    void bob_chroma(const bob_plane *plane, bob_path path, int second, const uint8_t **fields, uint8_t *target)


cdef tuple PATHS = (("scalar", BOB_SCALAR), ("avx2", BOB_AVX2))


def paths():
    """Names of the code paths that this processor runs, the fastest last."""
    return tuple(name for name, path in PATHS if bob_supported(path))


cdef class Bob:
    """Shows the fields of one stream, one picture each."""

    cdef bob_plane luma
    cdef bob_plane chroma
    cdef size_t field_offsets[3]
    cdef size_t target_offsets[3]
    cdef bob_path chosen
    cdef list kept
    cdef int newest
    cdef int known
    cdef readonly Py_ssize_t target_bytes
    cdef readonly str path

    def __init__(self, field, target, *, str path=None):
        if not 2 <= target.height <= 32767 or not 1 <= target.width <= 32767:
            raise ValueError(f"two rows or more expected, got {target.width}x{target.height}")
        if field.width != target.width or field.height != (target.height + 1) // 2 or field.chroma_height != field.height:
            raise ValueError(f"a field of {field.width}x{field.height} with {field.chroma_height} rows of chroma is none of {target.width}x{target.height}")
        self.luma = bob_plane(target.width, target.height, field.luma_stride, target.luma_stride)
        self.chroma = bob_plane(target.chroma_width, target.height, field.chroma_stride, target.chroma_stride)
        self.field_offsets = [field.luma_offset, field.u_offset, field.v_offset]
        self.target_offsets = [target.luma_offset, target.u_offset, target.v_offset]
        self.target_bytes = target.frame_bytes
        self.kept = [bytearray(field.frame_bytes) for _ in range(BOB_FIELDS)]
        self.newest = self.known = 0
        self.path = path or paths()[-1]
        if self.path not in paths():
            raise ValueError(f"this processor runs {', '.join(paths())}, not {self.path}")
        self.chosen = dict(PATHS)[self.path]

    @property
    def field(self):
        """Where the planes of the next field are to be written."""
        return self.kept[self.newest]

    def show(self, bint second, bint follows, target):
        """Writes the picture of the field that lies in `field`, which then is another one."""
        cdef Py_buffer written
        cdef const uint8_t *fields[4]
        cdef int age
        if not follows:
            self.known = 0
        PyObject_GetBuffer(target, &written, PyBUF_SIMPLE | PyBUF_WRITABLE)
        try:
            if written.len < self.target_bytes:
                raise ValueError(f"{self.target_bytes} octets to write expected, got {written.len}")
            for age in range(BOB_FIELDS):
                # Safety: the list keeps its bytearrays, which nobody resizes, for as long as this object lives.
                fields[age] = <const uint8_t *><char *>(<bytearray>self.kept[(self.newest - age) % BOB_FIELDS]) if age <= self.known else NULL
            with nogil:
                self._show(second, fields, <uint8_t *>written.buf)
        finally:
            PyBuffer_Release(&written)
        self.newest = (self.newest + 1) % BOB_FIELDS
        self.known = min(self.known + 1, BOB_FIELDS - 1)

    cdef void _show(self, int second, const uint8_t **fields, uint8_t *target) noexcept nogil:
        cdef const uint8_t *planes[4]
        cdef int plane, age
        for plane in range(3):
            for age in range(4):
                planes[age] = fields[age] + self.field_offsets[plane] if fields[age] != NULL else NULL
            if plane == 0:
                bob_luma(&self.luma, self.chosen, second, planes, target + self.target_offsets[plane])
            else:
                bob_chroma(&self.chroma, self.chosen, second, planes, target + self.target_offsets[plane])
