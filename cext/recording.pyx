# distutils: sources = cext/kernels/recorder.c cext/kernels/pcapng.c
# cython: embedsignature=True
"""Records flows into a pcapng file, in C and without the GIL. Used by appliance/recording, which opens the sockets and writes the head.

The work is kernels/recorder.c.
"""
import os
import socket
import struct
from collections import namedtuple

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef extern from "recorder.h" nogil:
    enum: RECORDER_BLOCK_BYTES, RECORDER_FULL, RECORDER_DRAINED
    struct pcapng_c "pcapng":
        uint64_t written
        size_t used
    struct recorded_flow:
        uint64_t packets, octets, drops, first_ns, last_ns
    struct recorder_c "recorder":
        pcapng_c file
        uint32_t flow_count
        recorded_flow flows[16]
    struct sockaddr:
        pass
    recorder_c *recorder_new(int fd, uint64_t bytes_max)
    void recorder_free(recorder_c *r)
    int recorder_add_ring(recorder_c *r, int fd, uint32_t blocks, bint merged)
    int recorder_add_socket(recorder_c *r, int fd, const sockaddr *target, size_t target_bytes)
    void recorder_end(recorder_c *r)
    int recorder_run(recorder_c *r, int64_t duration_ns)
    void pcapng_block(pcapng_c *file, const uint8_t *block, size_t length)
    int pcapng_flush(pcapng_c *file)

BLOCK_BYTES = RECORDER_BLOCK_BYTES
FULL, DRAINED = RECORDER_FULL, RECORDER_DRAINED

FlowCounts = namedtuple("FlowCounts", "packets octets drops first_ns last_ns")


cdef int _check(int result) except? -1:
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


cdef class Recorder:
    """Writes to the descriptor `fd`, at most about `bytes_max` octets. Descriptors stay the caller's and must live as long."""

    cdef recorder_c *pointer

    def __cinit__(self, int fd, uint64_t bytes_max):
        self.pointer = recorder_new(fd, bytes_max)
        if self.pointer == NULL:
            raise MemoryError("no memory for the recorder")

    def __dealloc__(self):
        if self.pointer != NULL:
            recorder_free(self.pointer)

    def block(self, const uint8_t[::1] octets not None):
        """Writes a whole block of pcapng as it is; its length is a multiple of 4."""
        if octets.shape[0] % 4:
            raise ValueError("a block of pcapng has a multiple of 4 octets")
        pcapng_block(&self.pointer.file, &octets[0], octets.shape[0])

    def add_ring(self, int fd, uint32_t blocks, bint merged):
        """Records a packet socket's ring of `blocks` of BLOCK_BYTES from now on; the interface's number. OSError."""
        return _check(recorder_add_ring(self.pointer, fd, blocks, merged))

    def add_socket(self, int fd, str group, int port):
        """Records a UDP socket (SO_TIMESTAMPNS, SO_RXQ_OVFL) that receives this address and port. OSError."""
        cdef bytes target
        if ":" in group:
            target = struct.pack("@HHI16sI", socket.AF_INET6, socket.htons(port), 0, socket.inet_pton(socket.AF_INET6, group), 0)
        else:
            target = struct.pack("@HH4s8x", socket.AF_INET, socket.htons(port), socket.inet_pton(socket.AF_INET, group))
        cdef const uint8_t *octets = target
        return _check(recorder_add_socket(self.pointer, fd, <const sockaddr *>octets, len(target)))

    def run(self, int64_t duration_ns):
        """Records for about so long, without the GIL; FULL once the file is, DRAINED after end(), else 0. OSError if it cannot be written, or a socket fails."""
        cdef int result
        with nogil:
            result = recorder_run(self.pointer, duration_ns)
        return _check(result)

    def end(self):
        """What comes from now on is not recorded; what waits for the disk still is, by run()."""
        recorder_end(self.pointer)

    def flush(self):
        """Writes what is gathered. OSError."""
        _check(pcapng_flush(&self.pointer.file))

    @property
    def written(self):
        """Octets of the file, those included that are still gathered."""
        return self.pointer.file.written + self.pointer.file.used

    def counts(self):
        """What was recorded of each interface."""
        return [FlowCounts(self.pointer.flows[i].packets, self.pointer.flows[i].octets, self.pointer.flows[i].drops,
                           self.pointer.flows[i].first_ns, self.pointer.flows[i].last_ns) for i in range(self.pointer.flow_count)]
