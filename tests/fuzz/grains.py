"""Mutated grains by the million: each is refused for a known reason, or de-identified into a valid grain in which no planted value is found.

python -m tests.fuzz.grains [COUNT] [SEED], part of `make fuzz`; a short run is among the tests. Mutations keep many grains whole: a value is
overwritten by a secret, an element gets another VR or tag, elements are copied about; others break lengths and octets.
"""
import random
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from appliance.clock import AudienceClock
from appliance.errors import ProtocolError
from appliance.frame import VideoFormat
from appliance.protocol import dicom_rtv
from appliance.protocol.deidentification import REASONS, Deidentifier
from appliance.protocol.deidentification.rules import RULES
from appliance.protocol.dicom_elements import walk
from appliance.source.case import static_part
from tests.unit.protocol.test_dicom_rtv import DYNAMIC, FLOW_ID, FULL, INSTANCE, ORIGIN_NS, SOURCE_ID, dynamic_part

SECRET = b"QZXJ-LOVELACE^ADA=4711"
SECRETS = (b"Lovelace", b"LOVELACE", b"ELACE^", b"HOSP-4711", b"18151210", b"St. Thomas", INSTANCE.encode(), SOURCE_ID, FLOW_ID, dicom_rtv.origin_timestamp(ORIGIN_NS),
           "Prüfling".encode(), b"DEMO-000042", b"SIM-0001", b"Demonstration Hospital")
CORPUS = (DYNAMIC, FULL, dicom_rtv.build_grain(static_part(INSTANCE, SOURCE_ID, FLOW_ID, VideoFormat(1280, 720)), dynamic_part(), instance_uid=INSTANCE,
                                               source_id=SOURCE_ID, flow_id=FLOW_ID))
VRS = (b"AE", b"CS", b"DA", b"DT", b"FD", b"IS", b"LO", b"PN", b"SH", b"TM", b"UI", b"UL", b"US")
TAGS = tuple(RULES)
LENGTHS = (0, 1, 2, 8, 0x7FFF, 0xFFFF)
CHUNK = 5_000


def _every(elements):
    for element in elements:
        yield element
        for item in element.items or ():
            yield from _every(item.elements)


PLACES = tuple(tuple(_every(walk(payload, 132))) for payload in CORPUS)


def mutated(dice: random.Random) -> bytes:
    """A grain of the corpus with one to three changes."""
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
    return bytes(octets)


def judge(payload: bytes, by: Deidentifier) -> str:
    """Why the grain was refused, or "told". AssertionError for a leak or an unknown reason."""
    try:
        checked = dicom_rtv.check_grain(payload)
    except ProtocolError as error:
        assert error.reason in dicom_rtv.REASONS
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
    return Counter(judge(mutated(dice), by) for _ in range(count))


def main(count: int, seed: int) -> None:
    """Runs in all cores, and prints what became of the grains."""
    begun, fared = time.monotonic(), Counter()
    with ProcessPoolExecutor() as workers:
        chunks = range(-(-count // CHUNK))
        for part in workers.map(run, (seed * 1_000_003 + chunk for chunk in chunks), (min(CHUNK, count - chunk * CHUNK) for chunk in chunks)):
            fared += part
    print(f"{fared.total()} grains in {time.monotonic() - begun:.0f} s, seed {seed}: no crash, no leak")
    for outcome, grains in fared.most_common():
        print(f"  {grains:9d} {outcome}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000, int(sys.argv[2]) if len(sys.argv) > 2 else 1)
