"""Nearly right sound packets by the ten thousand onto tapes that are read meanwhile, with gcc's sanitizers watching every octet."""
import subprocess
from pathlib import Path

from tests.fuzz import scale

HERE = Path(__file__).parent
KERNELS = HERE.parents[1] / "cext" / "kernels"
SOURCES = [HERE / "tape_driver.c", *(KERNELS / f"{name}.c" for name in ("tape", "pcm", "resample", "sequence"))]


def test_no_packet_makes_the_tape_look_outside_itself_or_goes_uncounted(tmp_path):
    driver, tapes = tmp_path / "tape_driver", 80 * scale()
    subprocess.run(["gcc", "-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-Wall", "-Wextra", "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
                    f"-I{KERNELS}", *SOURCES, "-o", driver, "-lm"], check=True)
    run = subprocess.run([driver, "11", str(tapes)], capture_output=True, text=True, timeout=120 * scale())
    assert run.returncode == 0, run.stderr[-4000:]
    accepted, refused, silent_ticks = map(int, run.stdout.split())
    assert accepted > 100 * tapes and refused > 20 * tapes and silent_ticks > 1000 * tapes, run.stdout
