"""Nearly right acknowledgements by the hundred thousand into the sending half of SCTP, with gcc's sanitizers watching every octet."""
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
KERNELS = HERE.parents[1] / "cext" / "kernels"
SOURCES = [HERE / "sctp_driver.c", *(KERNELS / f"{name}.c" for name in ("sctp", "crc32c"))]


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    binary = tmp_path_factory.mktemp("fuzz") / "sctp_driver"
    subprocess.run(["gcc", "-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-Wall", "-Wextra", "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
                    f"-I{KERNELS}", *SOURCES, "-o", binary], check=True)
    return binary


@pytest.mark.parametrize("seed", range(4))
def test_no_acknowledgement_makes_the_sender_read_out_of_bounds_or_lose_count(driver, seed):
    run = subprocess.run([driver, str(seed), "10"], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr[-4000:]
    assert int(run.stdout) > 1000, "the acknowledgements are too broken for anything to be sent"
