"""A process dies of SIGKILL after every single instruction that it spends in the ring; the ring works on."""
import re
import subprocess
from pathlib import Path

KERNELS = Path(__file__).parents[2] / "cext" / "kernels"
STEPS_AT_LEAST = 100  # fewer would mean that the victim ended before it reached the ring


def test_a_death_at_any_instruction_leaves_a_ring_that_works(tmp_path):
    program = tmp_path / "killed"
    subprocess.run(["gcc", "-std=c11", "-D_GNU_SOURCE", "-O2", "-g", "-static", f"-I{KERNELS}", str(Path(__file__).parent / "killed.c"),
                    str(KERNELS / "ring.c"), "-o", str(program)], check=True)
    result = subprocess.run([str(program)], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    deaths = [int(count) for count in re.findall(r": (\d+) deaths", result.stdout)]
    print(result.stdout)
    assert len(deaths) == 4 and min(deaths) > STEPS_AT_LEAST
