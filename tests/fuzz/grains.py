"""Mutated grains by the million: each is refused for a known reason, or de-identified into a valid grain in which no planted value is found.

python -m tests.fuzz.grains [--count N] [--seed N] [--workers N], part of `make fuzz`; a short run is among the tests. Mutations keep many grains
whole: a value is overwritten by a secret, an element gets another VR or tag, elements are copied about; others break lengths and octets.
"""
import argparse
import os
import random
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from appliance.clock import AudienceClock
from appliance.errors import ProtocolError
from appliance.frame import VideoFormat
from appliance.protocol import attribution, dicom_rtv
from appliance.protocol.deidentification import REASONS, Deidentifier
from appliance.protocol.deidentification.rules import RULES
from appliance.protocol.dicom_elements import walk
from appliance.source.case import static_part
from tests.bench.process import resident_bytes
from tests.unit.protocol.test_attribution import audio_grain, rendition_grain
from tests.unit.protocol.test_dicom_rtv import DYNAMIC, FLOW_ID, FULL, INSTANCE, ORIGIN_NS, SOURCE_ID, dynamic_part

SECRET = b"QZXJ-LOVELACE^ADA=4711"
SECRETS = (b"Lovelace", b"LOVELACE", b"ELACE^", b"HOSP-4711", b"18151210", b"St. Thomas", INSTANCE.encode(), SOURCE_ID, FLOW_ID, dicom_rtv.origin_timestamp(ORIGIN_NS),
           "Prüfling".encode(), b"DEMO-000042", b"SIM-0001", b"Demonstration Hospital")
CORPUS = (DYNAMIC, FULL, dicom_rtv.build_grain(static_part(INSTANCE, SOURCE_ID, FLOW_ID, VideoFormat(1280, 720)), dynamic_part(), instance_uid=INSTANCE,
                                               source_id=SOURCE_ID, flow_id=FLOW_ID), audio_grain(), rendition_grain())
VRS = (b"AE", b"CS", b"DA", b"DT", b"FD", b"IS", b"LO", b"PN", b"SH", b"TM", b"UI", b"UL", b"US")
TAGS = tuple(RULES)
LENGTHS = (0, 1, 2, 8, 0x7FFF, 0xFFFF)
CHUNK = 5_000
RATES_HZ = (90_000, 90_000, 90_000, 48_000, 90_000)
"""Of each grain of the corpus: what its flow's SDP says."""
GROWTH_BYTES_MAX = 8 << 20
"""Of a worker's memory between its third chunk and its last: it has met everything by then."""


def _every(elements):
    for element in elements:
        yield element
        for item in element.items or ():
            yield from _every(item.elements)


PLACES = tuple(tuple(_every(walk(payload, 132))) for payload in CORPUS)


def mutated(dice: random.Random) -> tuple[bytes, int]:
    """A grain of the corpus with one to three changes, and the rate of its flow."""
    which = dice.randrange(len(CORPUS))
    octets = bytearray(CORPUS[which])
    for _ in range(dice.randint(1, 3)):
        place, kind = dice.choice(PLACES[which]), dice.randrange(8)
        if kind < 4 and place.items is None:  # the value
            length = place.value_end - place.value
            octets[place.value:place.value_end] = (SECRET * (length // len(SECRET) + 1))[:length]
        elif kind == 4 and place.value - place.start == 8:
            octets[place.start + 4:place.start + 6] = dice.choice(VRS)
        elif kind == 5:
            tag = dice.choice(TAGS)
            octets[place.start:place.start + 4] = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little")
        elif kind == 6:
            octets[place.value - 2:place.value] = dice.choice(LENGTHS).to_bytes(2, "little")
        else:
            at = dice.randrange(len(octets))
            octets[at:at + dice.randint(0, 3)] = dice.randbytes(dice.randint(0, 3))
    return bytes(octets), RATES_HZ[which]


def judge(payload: bytes, by: Deidentifier, rate_hz: int | None = None) -> str:
    """Why the grain was refused, or "told". AssertionError for a leak or an unknown reason. `rate_hz` None: nothing is known of its flow."""
    try:
        checked = dicom_rtv.check_grain(payload)
    except ProtocolError as error:
        assert error.reason in dicom_rtv.REASONS
        return error.reason
    try:
        attribution.attribute(checked, attribution.Announced(), checked.rate_hz if rate_hz is None else rate_hz)
    except ProtocolError as error:
        assert error.reason in attribution.REASONS
        return error.reason
    try:
        told = by.deidentify(checked)
    except ProtocolError as error:
        assert error.reason in REASONS
        return f"withheld: {error.reason}"
    for secret in SECRETS:
        assert secret not in told, f"{secret!r} is in what was made of {payload.hex()}"
    return "told"


def run(seed: int, count: int) -> Counter:
    """How `count` grains of a seed fared."""
    dice, by = random.Random(seed), Deidentifier(AudienceClock.secret(b"of a test", "endoscope"))
    return Counter(judge(payload, by, rate_hz) for payload, rate_hz in (mutated(dice) for _ in range(count)))


def chunk(seed: int, count: int) -> tuple[Counter, int, int]:
    """How they fared in this process, which one it is, and the octets that it holds afterwards."""
    return run(seed, count), os.getpid(), resident_bytes(os.getpid())


def main() -> None:
    """Prints what became of the grains. AssertionError if a worker's memory grows."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.grains")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=None, help="processes (default: one a core)")
    options = parser.parse_args()
    begun, fared, held = time.monotonic(), Counter(), {}
    with ProcessPoolExecutor(options.workers) as workers:
        chunks = range(-(-options.count // CHUNK))
        counts = (min(CHUNK, options.count - number * CHUNK) for number in chunks)
        for part, worker, octets in workers.map(chunk, (options.seed * 1_000_003 + number for number in chunks), counts):
            fared += part
            held.setdefault(worker, []).append(octets)
            print(f"\r{fared.total()} grains, {octets >> 20} MiB", end="", file=sys.stderr, flush=True)
    print(f"\n{fared.total()} grains in {time.monotonic() - begun:.0f} s, seed {options.seed}: no crash, no value told")
    for outcome, grains in fared.most_common():
        print(f"  {grains:9d} {outcome}")
    for octets in held.values():
        print(f"  a worker held {octets[0] >> 10} KiB after {CHUNK} grains, {octets[-1] >> 10} KiB after {len(octets) * CHUNK}")
        assert octets[-1] - octets[:3][-1] <= GROWTH_BYTES_MAX, "memory grows with the grains"


if __name__ == "__main__":
    main()
