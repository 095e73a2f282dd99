"""Random geometries through conversion, fields and scaling, with gcc's sanitizers watching every octet, scratch memory included."""
import subprocess
from pathlib import Path

from tests.fuzz import scale

HERE = Path(__file__).parent
KERNELS = HERE.parents[1] / "cext" / "kernels"
SOURCES = [HERE / "pixels_driver.c", *(KERNELS / f"{name}.c" for name in ("convert", "pgroups", "samples", "planes", "bob", "scale"))]


def test_no_geometry_makes_a_kernel_read_or_write_out_of_bounds(tmp_path):
    binary, geometries = tmp_path / "pixels_driver", 800 * scale()
    subprocess.run(["gcc", "-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-Wall", "-Wextra", "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
                    f"-I{KERNELS}", *SOURCES, "-lm", "-o", binary], check=True)
    run = subprocess.run([binary, "1", str(geometries)], capture_output=True, text=True, timeout=120 * scale())
    assert run.returncode == 0, run.stderr[-4000:]
    assert int(run.stdout) >= geometries
