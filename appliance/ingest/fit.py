"""Whether what arrives is what the SDP describes. Used by the ingest stage several times a second: counts in, a judgement out.

It knows no clock and no counter: the caller brings time and totals.
"""
FIT_INTERVAL_NS = 400_000_000
"""Two of them and the rest of the one in which it begins are less than a second."""
# Of the packets of an interval: more of the sender's refused for their place or length than bit errors explain.
REFUSED_SHARE_MAX = 0.05
# Frames with holes although fewer packets were lost, or came too late, than there are frames are smaller than the SDP says; one a frame explains its
# hole. So many of them without a whole one between: a sender that stalls cuts one short, and goes on.
TORN_FRAMES_MIN = 4
# So many fields of one kind and none of the other are no two fields a frame.
FIELDS_ALIKE_MIN = 6
_GEOMETRY_REASONS = ("srd_length", "srd_field", "srd_row", "srd_offset")


class Fit:
    """Whether what arrives is what the SDP describes, judged at intervals. A picture that is cut or shifted must not be shown as if it were whole."""

    def __init__(self, now_ns: int, frame_ns: int, by_fields: bool = False) -> None:
        self.good = True
        self._by_fields = by_fields
        # A slow flow has fewer of them in an interval.
        self._torn, self._torn_min = 0, min(TORN_FRAMES_MIN, max(1, FIT_INTERVAL_NS // frame_ns))
        self._judged_ns, self._before = now_ns, {}
        self._alike, self._second = 0, None

    def changed(self, totals: dict, now_ns: int) -> bool:
        """Takes the assembly's totals; True when the judgement has just become another. An interval without packets changes nothing."""
        if now_ns - self._judged_ns < FIT_INTERVAL_NS:
            return False
        counts = {name: totals[name] for name in ("packets", "frames", "incomplete", "lost", "late", "sparse", "second_fields")}
        counts["refused"] = sum(totals["malformed"][reason] for reason in _GEOMETRY_REASONS)
        fresh = {name: count - self._before.get(name, 0) for name, count in counts.items()}
        self._judged_ns, self._before = now_ns, counts
        arrived = fresh["packets"] + fresh["refused"]
        if not arrived:
            return False
        torn, alike = self._all_torn(fresh), self._fields_alike(fresh)
        good = fresh["refused"] <= REFUSED_SHARE_MAX * arrived and not torn and not alike
        changed, self.good = good != self.good, good
        return changed

    def _all_torn(self, fresh: dict[str, int]) -> bool:
        """Whether no frame was whole for a while, and nothing explains it."""
        ended = fresh["frames"] + fresh["sparse"]
        if ended > fresh["incomplete"] + fresh["sparse"]:
            self._torn = 0
        elif fresh["lost"] + fresh["late"] < ended:
            self._torn += ended
        elif fresh["late"]:
            self._torn = max(self._torn - 1, 0)  # the rest of one of them
        return self._torn >= self._torn_min

    def _fields_alike(self, fresh: dict[str, int]) -> bool:
        """Whether only first or only second fields have come for a while: half of the picture is missing, or it is not interlaced."""
        if not self._by_fields or not fresh["frames"]:
            return self._alike >= FIELDS_ALIKE_MIN
        kind = {0: False, fresh["frames"]: True}.get(fresh["second_fields"])
        self._alike = fresh["frames"] + (self._alike if kind == self._second else 0) if kind is not None else 0
        self._second = kind
        return self._alike >= FIELDS_ALIKE_MIN
