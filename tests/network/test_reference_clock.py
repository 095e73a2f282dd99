"""What the exporter learns from a real ptp4l (Debian's linuxptp) over a cable: lock, whose clock it is, and that the grandmaster is gone.

Software time stamps, and free_running on both sides: no clock of this machine is ever set.
"""
import re
import subprocess
import time
from contextlib import contextmanager

from appliance.exporter.judgement import Figures, judge_time
from appliance.exporter.reference_clock import ClockState, PtpQuestion, look
from appliance.frame import VideoFormat
from appliance.protocol import ptp
from appliance.protocol.sdp import VideoFlow
from tests.network.wire import CAMERA, THEATRE

DOMAIN = 27  # neither of the usual ones
PATIENCE_S = 30
SETTINGS = """\
[global]
domainNumber {domain}
free_running 1
slaveOnly {follows}
logAnnounceInterval -2
announceReceiptTimeout 3
logSyncInterval -3
logMinDelayReqInterval -3
uds_address {socket}
"""


@contextmanager
def ptp4l(folder, interface, follows):
    """A ptp4l by Ethernet frames; gives its socket. Killed at the end."""
    path = folder / f"{interface}.sock"
    (folder / f"{interface}.cfg").write_text(SETTINGS.format(domain=DOMAIN, follows=int(follows), socket=path))
    with open(folder / f"{interface}.log", "wb") as log:
        process = subprocess.Popen(["ptp4l", "-2", "-S", "-m", "-f", str(folder / f"{interface}.cfg"), "-i", interface], stdout=log, stderr=log)
    try:
        yield path
    finally:
        process.terminate()
        process.wait(10)


def until(condition, what):
    """Asks until the answer is as wished; the answer."""
    deadline = time.monotonic() + PATIENCE_S
    while not (answer := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.1)
    return answer


def flow(grandmaster, domain=DOMAIN):
    return VideoFlow(format=VideoFormat(1280, 720), group="239.1.1.1", port=5004, payload_type=96,
                     ptp=f"IEEE1588-2008:{ptp.identity_text(grandmaster)}:{domain}")


def test_the_state_of_ptp_is_that_of_ptp4l(network, tmp_path):
    figures = Figures(seconds=2, packets=1, frames=1)
    with ptp4l(tmp_path, THEATRE, follows=True) as path:
        question = PtpQuestion((path,), likely=(DOMAIN, 0))
        assert until(question.ask, "ptp4l's socket").problem or question.ask().grandmaster is None
        with ptp4l(tmp_path, CAMERA, follows=False):
            state = until(lambda: (asked := question.ask()) and asked.locked and asked, "a lock")
            pmc = subprocess.run(["pmc", "-u", "-b", "0", "-d", str(DOMAIN), "-s", str(path), "GET TIME_STATUS_NP"], capture_output=True, text=True, timeout=10).stdout
            told = re.search(r"gmIdentity +(\S+)", pmc)[1].replace(".", "")
            assert state.grandmaster == int(told, 16) != state.clock and state.domain == DOMAIN
            assert [port.interface for port in state.ports] == [THEATRE] and not state.hardware
            clock = ClockState(state)
            assert judge_time(flow(state.grandmaster), clock, figures).basis == "ptp"
            assert set(judge_time(flow(state.clock), clock, figures).found) == {"grandmaster"}
            assert set(judge_time(flow(state.grandmaster, 0), clock, figures).found) == {"grandmaster"}
        state = until(lambda: (asked := question.ask()) and asked.grandmaster is None and not asked.problem and asked, "the loss of the grandmaster")
        assert set(judge_time(flow(1), ClockState(state), figures).found) == {"ptp_not_locked"}
    assert question.ask() is None
    question.close()


def test_a_clock_in_a_domain_that_nobody_expects_is_found(network, tmp_path):
    with ptp4l(tmp_path, CAMERA, follows=False) as path:
        question = PtpQuestion((path,))
        state = until(lambda: (asked := question.ask()) and asked.grandmaster and asked, "an answer")
        assert state.domain == DOMAIN and state.grandmaster == state.clock
        question.close()


def test_where_no_ptp4l_runs_the_kernel_is_asked(tmp_path):
    state = look(PtpQuestion((tmp_path / "none",)))
    assert state.ptp is None and state.synchronised in (True, False) and state.source == ("kernel" if state.synchronised else "none")
    assert state.tai_offset_s in range(60)
