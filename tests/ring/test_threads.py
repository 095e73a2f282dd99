"""The ring under ThreadSanitizer: every access to a slot is ordered by its control word."""
import subprocess
from pathlib import Path

KERNELS = Path(__file__).parents[2] / "cext" / "kernels"


def test_threads_share_a_ring_without_a_data_race(tmp_path):
    program = tmp_path / "threads"
    subprocess.run(["gcc", "-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-fsanitize=thread", f"-I{KERNELS}", str(Path(__file__).parent / "threads.c"),
                    str(KERNELS / "ring.c"), "-o", str(program), "-lpthread"], check=True)
    # Address layouts with much randomness do not suit ThreadSanitizer's shadow memory.
    result = subprocess.run(["setarch", "-R", str(program)], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "WARNING" not in result.stderr, result.stderr
    assert result.stdout.count("0 torn words") == 2
