# distutils: sources = cext/kernels/capture.c cext/kernels/replayer.c
# cython: embedsignature=True
"""Reads a capture and sends its datagrams again in their own time, in C and without the GIL. Used by appliance/packets/replay.py.

The work is kernels/capture.c and kernels/replayer.c.
"""
import ipaddress
import os
from collections import namedtuple

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

cdef extern from "replayer.h" nogil:
    enum: CAPTURE_FLOWS_MAX, CAPTURE_UNKNOWN, LEFT_OUT_KINDS
    struct captured:
        uint64_t time_ns
    struct captured_flow:
        uint8_t address[16]
        uint8_t version
        uint16_t port
        uint64_t packets, octets
    struct capture_c "capture":
        captured *packets
        uint64_t count
        captured_flow flows[64]
        uint32_t flow_count
        uint64_t left_out[5]
        int broken
    struct replay_c "replay":
        const capture_c *capture
        const uint8_t *memory
        double speed
        int fds[64]
        uint64_t next, sent, refused
        int64_t late_ns_max
    int capture_read(capture_c *capture, const uint8_t *memory, size_t length)
    void capture_free(capture_c *capture)
    int replay_run(replay_c *replay, int64_t duration_ns)

LEFT_OUT = ("not UDP", "fragments", "cut short", "of an unknown link type", "of too many flows")
CapturedFlow = namedtuple("CapturedFlow", "address port packets octets")


cdef class Capture:
    """A capture in memory (pcap or pcapng; anything with the buffer protocol). ValueError if it is none."""

    cdef capture_c capture
    cdef replay_c replay
    cdef const uint8_t[::1] memory

    def __cinit__(self, const uint8_t[::1] memory not None):
        self.memory = memory
        cdef const uint8_t *octets = &memory[0] if memory.shape[0] else NULL
        cdef size_t length = memory.shape[0]
        cdef int refusal
        memset(&self.capture, 0, sizeof(self.capture))
        memset(&self.replay, 0, sizeof(self.replay))
        with nogil:
            refusal = capture_read(&self.capture, octets, length)
        if refusal == CAPTURE_UNKNOWN:
            raise ValueError("it is no capture")
        if refusal:
            raise MemoryError("too many packets for the memory of this machine")

    def __dealloc__(self):
        capture_free(&self.capture)

    @property
    def flows(self):
        """To whom its datagrams went, in the order of their first."""
        found = []
        for i in range(self.capture.flow_count):
            octets = bytes(self.capture.flows[i].address[:4 if self.capture.flows[i].version == 4 else 16])
            found.append(CapturedFlow(str(ipaddress.ip_address(octets)), self.capture.flows[i].port, self.capture.flows[i].packets, self.capture.flows[i].octets))
        return found

    @property
    def left_out(self):
        """How many packets are no whole UDP datagrams, by reason."""
        return {name: self.capture.left_out[i] for i, name in enumerate(LEFT_OUT) if self.capture.left_out[i]}

    @property
    def broken(self):
        """Whether it ends within a packet, or goes on as something else."""
        return bool(self.capture.broken)

    @property
    def packets(self):
        """Datagrams in it."""
        return self.capture.count

    @property
    def seconds(self):
        """From its first datagram to its last."""
        if not self.capture.count:
            return 0.0
        return max(0.0, (<int64_t>(self.capture.packets[self.capture.count - 1].time_ns - self.capture.packets[0].time_ns)) / 1e9)

    def begin(self, descriptors, double speed=1.0):
        """Sends from the first datagram on: each flow through its connected UDP socket, one of -1 not at all."""
        if len(descriptors) != self.capture.flow_count:
            raise ValueError("a descriptor for each flow is needed")
        if not 0 < speed <= 1000:
            raise ValueError("the speed is more than 0, at most 1000")
        memset(&self.replay, 0, sizeof(self.replay))
        self.replay.capture, self.replay.speed = &self.capture, speed
        self.replay.memory = &self.memory[0]
        for i, descriptor in enumerate(descriptors):
            self.replay.fds[i] = descriptor

    def run(self, int64_t duration_ns):
        """Sends for about so long, without the GIL; False once all is sent. OSError for an error that will not pass."""
        cdef int result
        if self.replay.capture == NULL:
            raise ValueError("begin() comes first")
        with nogil:
            result = replay_run(&self.replay, duration_ns)
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        return bool(result)

    @property
    def sent(self):
        """Datagrams sent so far."""
        return self.replay.sent

    @property
    def refused(self):
        """Datagrams that the machine did not take."""
        return self.replay.refused

    @property
    def late_ns_max(self):
        """By how much the latest datagram left after its time."""
        return self.replay.late_ns_max
