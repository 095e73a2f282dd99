"""What a packet's stamp says of its arrival: the network card's and the kernel's, alone and shared, and stamps of another clock."""
import ctypes
import subprocess
from pathlib import Path

import pytest

from appliance.runtime.metrics import INGEST_STAMPS
from cext.reception import STAMP_KINDS

HERE = Path(__file__).parent
KERNELS = HERE.parents[1] / "cext" / "kernels"
NOW, OFFSET, SECOND = 1_800_000_000 * 10**9, 37 * 10**9, 10**9
HARDWARE, MERGED = True, True


@pytest.fixture(scope="module")
def arrival_at(tmp_path_factory):
    library = tmp_path_factory.mktemp("arrival") / "arrival.so"
    subprocess.run(["gcc", "-std=c11", "-O1", "-Wall", "-Wextra", "-shared", "-fPIC", f"-I{KERNELS}", HERE / "arrival_wrapper.c", "-o", library], check=True)
    wrapped = ctypes.CDLL(str(library)).wrapped_arrival_at

    def call(stamp_ns, hardware=False, merged=False):
        tai, kind = ctypes.c_int64(), ctypes.c_int()
        wrapped(*map(ctypes.c_int64, (NOW, OFFSET, stamp_ns)), int(hardware), int(merged), ctypes.byref(tai), ctypes.byref(kind))
        return tai.value, STAMP_KINDS[kind.value]
    return call


def test_the_kernel_s_stamp_is_utc_and_the_network_card_s_tai(arrival_at):
    assert arrival_at(NOW - OFFSET - 3_000) == (NOW - 3_000, "kernel")
    assert arrival_at(NOW - 3_000, HARDWARE) == (NOW - 3_000, "hardware")


@pytest.mark.parametrize("hardware", [True, False])
def test_merged_packets_share_a_stamp_and_it_says_so(arrival_at, hardware):
    assert arrival_at(NOW - 7 - (0 if hardware else OFFSET), hardware, MERGED) == (NOW - 7, "merged")


@pytest.mark.parametrize("stamp_ns, hardware", [(0, False), (NOW, False), (NOW - OFFSET, True), (12345, True), (NOW - SECOND - 1, True), (NOW + SECOND + 1, True)])
def test_a_stamp_of_another_clock_is_not_believed(arrival_at, stamp_ns, hardware):
    assert arrival_at(stamp_ns, hardware) == (NOW, "batch")


def test_the_kinds_are_those_of_the_metric():
    assert STAMP_KINDS == INGEST_STAMPS
