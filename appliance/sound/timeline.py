"""When each Opus frame begins: on the TAI grid of its own length, and where that is on the sender's ticks. Used by the sound stage.

Pure arithmetic in whole numbers. A sender on PTP time is taken at its word; any other is followed by its packets' arrival, its drift made good
by reading a little faster or slower. Frames follow each other without gap or overlap as long as one time line lasts.
"""
from collections import deque

from appliance import clock

RATE_HZ = 48_000
FRAME_SAMPLES = 480
FRAMES_A_SECOND = RATE_HZ // FRAME_SAMPLES
FRAME_NS = 1_000_000_000 // FRAMES_A_SECOND
ONE = 1 << 32
"""A tick: positions have 32 bits behind the point, as cext.sound takes them."""

CAPTURE_DISTANCE_NS_MAX = 2_000_000_000
"""The RTP time is taken for capture time only this near the arrival: further away the sender's clock is not PTP. As the kernel for video."""
STEER_FRAMES = FRAMES_A_SECOND
"""How often the reading is steered after the arrival."""
STEER_SHARE = 5
"""Of an error this part is made good until the next time."""
STEER_MAX = ONE // 2000
"""At most so much of a tick a tick: half a per mille is below what an ear hears, and more than two crystals differ by."""
JUMP_NS_MIN = 50_000_000
"""A larger error is not steered away: the time line begins anew."""
DRIFT_SECONDS = 30
"""Over so long the drift of a sender's clock against ours is measured."""
_SECOND_NS = 1_000_000_000
_MILLION = 1_000_000


class Timeline:
    """One epoch of a tape. Frame `number` begins at TAI number x FRAME_NS."""

    def __init__(self, first_tick: int, came_tai_ns: int, rate_hz: int, mediaclk_offset: int, packet_ticks: int,
                 window_ns: tuple[int, int] = (CAPTURE_DISTANCE_NS_MAX, CAPTURE_DISTANCE_NS_MAX)) -> None:
        """`first_tick` is the epoch's first, in a packet of `packet_ticks` that came at `came_tai_ns`; `window_ns` as runtime.belief has it."""
        self.rate_hz, self._frame_ticks = rate_hz, rate_hz // FRAMES_A_SECOND
        packet_ns = packet_ticks * _SECOND_NS // rate_hz
        captured_ns = clock.unwrap_rtp_timestamp(first_tick - mediaclk_offset & 0xFFFF_FFFF, came_tai_ns, rate_hz)
        self._early_ns, self._window_ns = captured_ns - came_tai_ns, window_ns
        self.by_arrival = not self.fits(window_ns)
        if self.by_arrival:
            captured_ns = came_tai_ns - packet_ns  # when a packet leaves, its last sample has just been captured
        captured_ticks = captured_ns * rate_hz // _SECOND_NS
        self._first_delay_ns = came_tai_ns - captured_ns - packet_ns
        self._shift = self._shift_at_first = first_tick - captured_ticks << 32  # from ticks of TAI to the tape's
        self._steering = 0  # more or less of the tape that each frame takes
        self._lags: deque[tuple[int, int]] = deque(maxlen=DRIFT_SECONDS)
        self._lag_ns: int | None = None
        self.number = -(-captured_ticks // self._frame_ticks)

    def fits(self, window_ns: tuple[int, int]) -> bool:
        """Whether the epoch's RTP time lies so near its arrival: at most the first after, the second before it."""
        return -window_ns[1] <= self._early_ns <= window_ns[0]

    @property
    def position(self) -> int:
        """Where the next frame begins on the tape."""
        return (self.number * self._frame_ticks << 32) + self._shift

    @property
    def step(self) -> int:
        """From one of its samples to the next on the tape."""
        return self.rate_hz * ONE // RATE_HZ + self._steering // FRAME_SAMPLES

    @property
    def capture_tai_ns(self) -> int:
        """When the next frame's first sample was captured."""
        return self.number * FRAME_NS

    @property
    def delay_ns(self) -> int | None:
        """From a sample's capture to its packet's arrival, the least of the last second; None until it is known."""
        return self._first_delay_ns + self._lags[-1][1] if self._lags else None

    @property
    def drift_ppm(self) -> int | None:
        """By how many millionths the sender's clock is faster than ours; None until some seconds have told."""
        if len(self._lags) < DRIFT_SECONDS // 3:
            return None
        (before, first_ns), (after, last_ns) = self._lags[0], self._lags[-1]
        return (first_ns - last_ns) * _MILLION // ((after - before) * FRAME_NS)

    def advance(self, lag_ns: int | None) -> bool:
        """Goes on to the next frame. `lag_ns` as Tape.take_lag_ns() gives it. False if the sender's time and ours have come apart: begin anew."""
        self.number += 1
        self._shift += self._steering
        if lag_ns is not None:
            self._lag_ns = lag_ns if self._lag_ns is None else min(lag_ns, self._lag_ns)
        if self.number % STEER_FRAMES or self._lag_ns is None:
            return True
        lag_ns, self._lag_ns = self._lag_ns, None
        self._lags.append((self.number, lag_ns))
        if self.by_arrival:
            return self._steer(lag_ns) and not self._fits_after_all(lag_ns)
        return abs(self._first_delay_ns + lag_ns) <= CAPTURE_DISTANCE_NS_MAX

    def _fits_after_all(self, lag_ns: int) -> bool:
        """Whether only the first packet was late, and the sender's time can be believed: well within the window, so that this is not asked for ever."""
        early_ns = self._early_ns - lag_ns
        return -self._window_ns[1] // 2 <= early_ns <= self._window_ns[0] // 2

    def _steer(self, lag_ns: int) -> bool:
        """Decides how much faster or slower the next second is read."""
        tick_ns = ONE * self.rate_hz
        error = -(lag_ns * tick_ns // _SECOND_NS) - (self._shift - self._shift_at_first)
        if abs(error) > JUMP_NS_MIN * tick_ns // _SECOND_NS:
            return False
        most = STEER_MAX * self._frame_ticks
        self._steering = max(-most, min(most, error // (STEER_SHARE * STEER_FRAMES)))
        return True
