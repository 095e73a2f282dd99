"""Nearly right packets by the hundred thousand into the assembly, with gcc's sanitizers watching every octet."""
import subprocess
from pathlib import Path

import pytest

from tests.fuzz import scale

HERE = Path(__file__).parent
KERNELS = HERE.parents[1] / "cext" / "kernels"
SOURCES = [HERE / "assembly_driver.c", *(KERNELS / f"{name}.c" for name in ("assembly", "paths", "survey", "sequence", "rfc4175", "timing"))]


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    binary = tmp_path_factory.mktemp("fuzz") / "assembly_driver"
    subprocess.run(["gcc", "-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-Wall", "-Wextra", "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
                    f"-I{KERNELS}", *SOURCES, "-o", binary], check=True)
    return binary


@pytest.mark.parametrize("seed", range(4))
def test_no_packet_makes_the_assembly_read_or_write_out_of_bounds_or_goes_uncounted(driver, seed):
    rasters = 100 * scale()
    run = subprocess.run([driver, str(seed), str(rasters)], capture_output=True, text=True, timeout=120 * scale())
    assert run.returncode == 0, run.stderr[-4000:]
    published, damaged = map(int, run.stdout.split())
    assert published > rasters, "the packets are too broken to bring out frames"
    assert damaged > 250 * rasters
