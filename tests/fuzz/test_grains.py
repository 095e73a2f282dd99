"""Grains and their packets: whatever comes is refused for a known reason, or de-identified, and then nothing in it identifies."""
import struct

from hypothesis import example, given, settings
from hypothesis import strategies as st

from appliance.clock import AudienceClock
from appliance.protocol import grain
from appliance.protocol.deidentification import Deidentifier
from tests.fuzz import grains
from tests.unit.protocol.test_dicom_rtv import DYNAMIC, FULL, META_END, nested

CORPUS = [DYNAMIC, FULL, DYNAMIC[:META_END] + FULL[len(DYNAMIC):]]
DEIDENTIFIER = Deidentifier(AudienceClock.secret(b"of a test", "endoscope"))
PIECES = [b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0\0\0\0\0", b"\xfe\xff\xdd\xe0\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\0", b"SQ\0\0", b"UN\0\0", b"OB\0\0", b"PN\x08\0LOVELACE",
          b"\x10\x00\x10\x00PN\x08\0LOVELACE", b"\x99\x00\x10\x00LO\x08\0LOVELACE", b"\x08\x00\x18\x00UI\x04\x001.2\0", nested(3, True), nested(3, False), nested(20, True)]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A good grain with octets replaced, cut out or put in."""
    payload = draw(st.sampled_from(CORPUS))
    for _ in range(draw(st.integers(1, 5))):
        start = draw(st.integers(132, len(payload)))
        removed = draw(st.integers(0, 12))
        payload = payload[:start] + draw(st.sampled_from(PIECES) | st.binary(max_size=8)) + payload[start + removed:]
    return payload


@settings(deadline=None)  # how long an example takes is the machine's matter
@given(mutated())
@example(FULL[:len(DYNAMIC)])
def test_mutated_grains_are_refused_or_deidentified(payload):
    grains.judge(payload, DEIDENTIFIER)


@settings(deadline=None)  # how long an example takes is the machine's matter
@given(st.integers(0, len(FULL) - 4), st.sampled_from([0, 1, 2, 7, 8, 12, 0x7FFF_FFFF, 0xFFFF_FFFE, 0xFFFF_FFFF]))
def test_lying_lengths_anywhere_are_refused_or_deidentified(at, length):
    grains.judge(FULL[:at] + struct.pack("<I", length) + FULL[at + 4:], DEIDENTIFIER)


@settings(deadline=None)  # how long an example takes is the machine's matter
@given(st.binary(max_size=400))
def test_any_octets_are_refused_or_deidentified(octets):
    grains.judge(octets, DEIDENTIFIER)
    grains.judge(DYNAMIC[:132] + octets, DEIDENTIFIER)
    grains.judge(DYNAMIC[:META_END] + octets, DEIDENTIFIER)


@settings(deadline=None)  # how long an example takes is the machine's matter
@given(st.lists(st.binary(max_size=80) | st.binary(max_size=60).map(lambda rest: b"\x90\x68" + rest), max_size=30), st.sampled_from([None, 5]))
def test_any_datagrams_are_counted_and_taken(datagrams, flags_id):
    assembler = grain.GrainAssembler(104, flags_id, bytes_max=200)
    for n, datagram in enumerate(datagrams):
        for done in assembler.receive(datagram, n):
            assert len(done.payload) <= 200
    assert set(assembler.malformed) <= set(grain.PACKET_REASONS) and set(assembler.dropped) <= set(grain.DROP_REASONS)
    assert assembler.packets + assembler.late + assembler.malformed.total() >= len(datagrams)


def test_a_thousand_of_a_million_grains_neither_crash_nor_leak():
    """The million is part of `make fuzz`."""
    fared = grains.run(seed=20261127, count=1000)
    assert fared["told"] > 100 and fared.total() - fared["told"] > 100, fared
