"""PTP management messages: answers of a real ptp4l read back, everything else refused, and the clocks that SDP files name."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.protocol import ptp

# Answers of ptp4l 3.1.1 that follows c22ca8.fffe.2af69e by software time stamps, domain 127, in the order of what asks for them.
OWN, GRANDMASTER = 0x5E99D9FFFEE81C68, 0xC22CA8FFFE2AF69E
TIME_STATUS = bytes.fromhex(
    "0d0200687f0000000000000000000000000000005e99d9fffee81c6800000001047f000000000000000100010000020000010034c000fffffffffffffee818ec06443eae69f3"
    "0000000000000000000000000000000000000000000000000001c22ca8fffe2af69e")
DEFAULT_DATA_SET = bytes.fromhex(
    "0d02004a7f0000000000000000000000000000005e99d9fffee81c6800000001047f00000000000000010001000002000001001620000300000180fffeffff805e99d9fffee81c687f00")
TIME_PROPERTIES = bytes.fromhex("0d02003a7f0000000000000000000000000000005e99d9fffee81c6800000001047f0000000000000001000100000200000100062003002500a0")


def test_what_ptp4l_says_is_read():
    status = ptp.read(TIME_STATUS)
    assert (status.domain, status.sequence, status.data_set) == (127, 1, ptp.TIME_STATUS_NP)
    assert ptp.time_status(status.octets) == ptp.TimeStatus(-280, True, GRANDMASTER)
    assert ptp.identity(ptp.read(DEFAULT_DATA_SET).octets) == OWN
    properties = ptp.read(TIME_PROPERTIES).octets
    assert ptp.utc_offset_s(properties) is None  # 37, which the grandmaster calls not valid
    assert ptp.utc_offset_s(properties[:2] + b"\x04" + properties[3:]) == 37
    assert ptp.port(bytes(10) + bytes([9, 1, 4]) + b"eth1") == ptp.Port("eth1", ptp.SLAVE, True)


def test_a_question_is_no_answer():
    assert ptp.read(ptp.get(ptp.TIME_STATUS_NP, 127, 9)) is None
    assert ptp.get(ptp.DEFAULT_DATA_SET, 127, 5)[:5] == bytes([0x0D, 2, 0, 54, 127])


@given(st.sampled_from([TIME_STATUS, DEFAULT_DATA_SET, TIME_PROPERTIES]), st.data())
def test_no_octets_break_the_reader(message, data):
    place = data.draw(st.integers(0, len(message) - 1))
    changed = message[:place] + data.draw(st.binary(max_size=3)) + message[place + data.draw(st.integers(0, 3)):]
    answer = ptp.read(changed)
    if answer:
        for read in (ptp.time_status, ptp.identity, ptp.utc_offset_s, ptp.port):
            read(answer.octets)


@pytest.mark.parametrize("text, reference", [
    ("IEEE1588-2008:39-A7-94-FF-FE-07-CB-D0:127", ptp.Reference(0x39A794FFFE07CBD0, 127)),
    ("IEEE1588-2008:39-a7-94-ff-fe-07-cb-d0", ptp.Reference(0x39A794FFFE07CBD0, None)),
    ("IEEE1588-2008:39-A7-94-FF-FE-07-CB-D0:domain-nmbr=0", ptp.Reference(0x39A794FFFE07CBD0, 0)),
    ("IEEE1588-2008:traceable", ptp.Reference(None, None)), ("IEEE1588-2008", ptp.Reference(None, None)),
    (None, None), ("ntp=10.0.0.1", None), ("IEEE1588-2008:nonsense", None)])
def test_the_clock_that_an_sdp_names(text, reference):
    assert ptp.reference(text) == reference
    if reference and reference.grandmaster:
        assert ptp.identity_text(reference.grandmaster) == "39-A7-94-FF-FE-07-CB-D0"
