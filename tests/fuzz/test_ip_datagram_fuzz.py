"""Nearly right IP packets by the hundred thousand into the packet ring's reader, with gcc's sanitizers watching every octet; right ones are all taken."""
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
KERNELS = HERE.parents[1] / "cext" / "kernels"


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    binary = tmp_path_factory.mktemp("fuzz") / "ip_datagram_driver"
    subprocess.run(["gcc", "-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-Wall", "-Wextra", "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
                    f"-I{KERNELS}", HERE / "ip_datagram_driver.c", KERNELS / "ip_datagram.c", "-o", binary], check=True)
    return binary


@pytest.mark.parametrize("seed", range(4))
def test_no_packet_makes_the_reader_look_beyond_it(driver, seed):
    run = subprocess.run([driver, str(seed), "200000"], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr[-4000:]
    taken, refused = map(int, run.stdout.split())
    assert taken > 60_000 and refused > 60_000, "the packets are not mixed well enough to prove anything"
