# distutils: sources = cext/kernels/metronome.c
# cython: embedsignature=True
"""Paced sending of the synthetic source's sound. Used by appliance/source/sound.py alone; decides nothing."""
import os

from libc.stdint cimport int64_t, uint8_t, uint32_t

cdef extern from "metronome.h" nogil:
    int64_t metronome_send(int fd, const uint8_t *packets, uint32_t packet_bytes, uint32_t count, int64_t first_ns, int64_t interval_ns,
                           int64_t interval_parts)


def send(int fd, const uint8_t[:, ::1] packets not None, int64_t first_ns, int64_t interval_ns, int64_t interval_parts=1):
    """Sends the rows of `packets`, row i at first_ns + i * interval_ns / interval_parts of CLOCK_TAI, without the GIL; how many the network took.

    OSError where it is gone for good.
    """
    cdef int64_t taken
    if packets.shape[0] == 0 or packets.shape[1] == 0 or interval_parts <= 0:
        raise ValueError("nothing to send")
    with nogil:
        taken = metronome_send(fd, &packets[0, 0], packets.shape[1], packets.shape[0], first_ns, interval_ns, interval_parts)
    if taken < 0:
        raise OSError(-taken, f"sending sound: {os.strerror(-taken)}")
    return taken
