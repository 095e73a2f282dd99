"""Captures from anywhere, nearly right, with gcc's sanitizers watching: nothing outside the file is read, and a datagram is within it."""
import struct
import subprocess
from pathlib import Path

from appliance.packets import pcapng
from tests.fuzz import scale

HERE = Path(__file__).parent
KERNELS = HERE.parents[1] / "cext" / "kernels"
CAPTURES = HERE.parent / "data" / "captures"


def own_file(packet: bytes) -> bytes:
    """A file as the recorder writes them."""
    body = struct.pack("=IIIII", 0, 0, 1, len(packet), len(packet)) + packet + bytes(-len(packet) % 4)
    block = struct.pack("=II", 6, 12 + len(body)) + body + struct.pack("=I", 12 + len(body))
    return (pcapng.section_header("appliance", "Linux", "a comment") + pcapng.interface(pcapng.ETHERNET, "eth1", "video", "its SDP") + 5 * block
            + pcapng.statistics(0, 1, 2, 3, 4))


def test_no_capture_makes_the_reader_look_outside_it(tmp_path):
    driver = tmp_path / "capture_driver"
    subprocess.run(["gcc", "-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-Wall", "-Wextra", "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
                    f"-I{KERNELS}", HERE / "capture_driver.c", KERNELS / "capture.c", "-o", driver], check=True)
    frame = bytes(12) + b"\x08\x00" + struct.pack("!BBHHHBBH4s4s", 0x45, 0, 31, 1, 0, 16, 17, 0, bytes(4), bytes([239, 1, 2, 3])) + struct.pack("!HHHH", 1, 5004, 11, 0)
    (tmp_path / "own.pcapng").write_bytes(own_file(frame + b"abc"))
    files = [tmp_path / "own.pcapng", *sorted(CAPTURES.rglob("*.pcap"))]
    run = subprocess.run([driver, "7", str(5000 * scale()), *files], capture_output=True, text=True, timeout=60 * scale())
    assert run.returncode == 0, run.stderr[-4000:]
    datagrams, left_out, refused = map(int, run.stdout.split())
    assert datagrams > 5000 * scale() and left_out > 100 and refused > 100
