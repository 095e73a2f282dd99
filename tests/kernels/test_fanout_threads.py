"""The fan-out under gcc's sanitizers: viewers come, move, skip, complain and leave while two renditions stream."""
import subprocess
from pathlib import Path

import pytest

KERNELS = Path(__file__).parents[2] / "cext" / "kernels"
SOURCES = [KERNELS / f"{name}.c" for name in ("fanout", "rendition", "viewer", "numbering", "datagrams", "srtp", "gcm", "gcm_vaes", "packetise", "ring")]


@pytest.mark.parametrize("sanitizers", ["thread", "address,undefined"])
def test_threads_share_the_fan_out(tmp_path, sanitizers):
    program = tmp_path / "fanout_threads"
    subprocess.run(["gcc", "-std=c11", "-D_GNU_SOURCE", "-O1", "-g", f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all", f"-I{KERNELS}",
                    str(Path(__file__).parent / "fanout_threads.c"), *map(str, SOURCES), "-o", str(program), "-lcrypto", "-lpthread"], check=True)
    # Address layouts with much randomness do not suit ThreadSanitizer's shadow memory.
    result = subprocess.run(["setarch", "-R", str(program)], capture_output=True, text=True, timeout=120,
                            env={"ASAN_OPTIONS": "detect_leaks=0", "PATH": "/usr/bin:/bin"})
    assert result.returncode == 0, result.stdout + result.stderr
    assert "WARNING" not in result.stderr, result.stderr
    assert result.stdout == "0 viewers left, failed 0\n"
