# distutils: sources = cext/kernels/timing.c
# cython: embedsignature=True
"""The timing kernel alone, for tests and captures; the ingest stage has one inside its Assembly."""
from libc.stdint cimport int64_t, uint32_t


cdef class Timing:
    """Measures packets of one path as ST 2110-21 section 6.6 does. `schedule`: as appliance.protocol.timing.Schedule."""
    cdef timing timing

    def __cinit__(self, schedule):
        cdef timing_schedule made = timing_schedule_of(schedule)
        timing_begin(&self.timing, &made)

    def packet(self, uint32_t sequence, uint32_t timestamp, int64_t arrival_tai_ns, bint second=False):
        """Takes one packet, in the order of arrival."""
        timing_packet(&self.timing, sequence, timestamp, second, arrival_tai_ns)

    def take(self):
        """What was measured since the last call; appliance.protocol.timing.Measurement says what is in it."""
        return timing_dict(&self.timing)
