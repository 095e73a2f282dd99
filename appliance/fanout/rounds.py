"""Turns of about a second for every session of a worker, on one timer. Made by fanout.worker, joined by fanout.session.

Each session has its slice of the second, so that none keeps the event loop from the others for long. Sleeps when there are none.
"""
import asyncio
from collections.abc import Callable

SLICES = 20
ROUND_S = 1.0


class Rounds:
    """Calls each member once in a round."""

    def __init__(self) -> None:
        # Dictionaries for their order and their speed: a slice's members are called as they came.
        self._slices: list[dict[object, Callable[[], None]]] = [{} for _ in range(SLICES)]
        self._next = 0
        self._timer: asyncio.TimerHandle | None = None

    def join(self, member: object, act: Callable[[], None]) -> None:
        """Calls `act` from now on, in the slice that has the fewest members. Needs a running loop."""
        min(self._slices, key=len)[member] = act
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(ROUND_S / SLICES, self._turn, loop.time() + ROUND_S / SLICES)

    def leave(self, member: object) -> None:
        """Calls it no more. One that is not there is fine."""
        for members in self._slices:
            members.pop(member, None)
        if self._timer is not None and not any(self._slices):
            self._timer.cancel()
            self._timer = None

    def _turn(self, due_s: float) -> None:
        loop = asyncio.get_running_loop()
        # After a stall the rounds go on from here: turns that are over are not made up for.
        next_s = max(due_s, loop.time() - ROUND_S) + ROUND_S / SLICES
        self._timer = loop.call_at(next_s, self._turn, next_s)
        members, self._next = self._slices[self._next], (self._next + 1) % SLICES
        for member, act in list(members.items()):
            if member in members:  # an earlier one's turn may have ended it
                try:
                    act()
                except Exception as error:  # whatever became of one viewer, the others get their turn
                    self.leave(member)
                    loop.call_exception_handler({"message": "a viewer's turn failed", "exception": error})
