"""Whether what arrives is what the SDP describes. Used by the ingest stage once a second: counts in, a judgement out.

It knows no clock and no counter: the caller brings time and totals.
"""
FIT_INTERVAL_NS = 1_000_000_000
# Of the packets of a second: more refused for their place or length than bit errors explain.
REFUSED_SHARE_MAX = 0.05
# A frame with holes although nothing was lost is smaller than the SDP says; more than this share lost explains holes by itself.
LOST_SHARE_MAX = 0.01
_GEOMETRY_REASONS = ("srd_length", "srd_row", "srd_offset")


class Fit:
    """Whether what arrives is what the SDP describes, judged once a second. A picture that is cut or shifted must not be shown as if it were whole."""

    def __init__(self, now_ns: int) -> None:
        self.good = True
        self._judged_ns, self._before = now_ns, None

    def changed(self, totals: dict, now_ns: int) -> bool:
        """Takes the assembly's totals; True when the judgement has just become another. A second without packets changes nothing."""
        if now_ns - self._judged_ns < FIT_INTERVAL_NS:
            return False
        counts = {name: totals[name] for name in ("packets", "frames", "incomplete", "lost")}
        counts["refused"] = sum(totals["malformed"][reason] for reason in _GEOMETRY_REASONS)
        fresh = {name: count - (self._before or {}).get(name, 0) for name, count in counts.items()}
        self._judged_ns, self._before = now_ns, counts
        arrived = fresh["packets"] + fresh["refused"]
        if not arrived:
            return False
        torn = 0 < fresh["frames"] == fresh["incomplete"] and fresh["lost"] <= LOST_SHARE_MAX * arrived
        good = fresh["refused"] <= REFUSED_SHARE_MAX * arrived and not torn
        changed, self.good = good != self.good, good
        return changed
