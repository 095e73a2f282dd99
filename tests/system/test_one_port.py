"""One UDP port for every viewer of every worker: Chromium and GStreamer through it, and a worker that dies. (Firefox: test_other_viewers.py.)"""
import json
import subprocess
from pathlib import Path

import pytest

from tests.system.test_whep import host_addresses
from tests.system.theatre import Theatre, free_ports, wait_until

PLAYER = Path(__file__).with_name("whep_player.py")
PAGES = 4


@pytest.fixture(scope="module")
def theatre(tmp_path_factory):
    [port] = free_ports(1)
    addresses = json.dumps(["127.0.0.1", *host_addresses()[:1]])  # GStreamer pairs no loopback address
    server = f'fanout_workers = 2\nmedia_ports = "{port}"\nmedia_addresses = {addresses}'
    with Theatre(tmp_path_factory.mktemp("theatre"), ["--timestamp-bars"], server=server) as theatre:
        theatre.media_port = port
        yield theatre


@pytest.fixture(scope="module")
def pages(theatre, browser):
    pages = [browser.open(theatre.link("expert" if number % 2 else "student")) for number in range(PAGES)]
    for page in pages:
        page.wait("window.applianceViewer && applianceViewer.frames > 20", 40)
    yield pages
    for page in pages:
        page.close()


def viewers(theatre, worker):
    return theatre.metric("appliance_fanout_viewers", stage=f"fanout.{worker}")


def udp_ports(pid):
    """Local ports of a process's UDP sockets."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        target = descriptor.readlink().name if descriptor.is_symlink() else ""
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    lines = [line.split() for table in ("udp", "udp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]]
    return {int(fields[1].rpartition(":")[2], 16) for fields in lines if fields[9] in inodes}


def frames(page):
    return page.evaluate("applianceViewer.frames")


def test_both_workers_serve_browsers_through_the_one_port(theatre, pages):
    assert all(viewers(theatre, worker) >= 1 for worker in (0, 1))
    for worker in (0, 1):
        assert udp_ports(theatre.stages()[f"fanout.{worker}"]) == {theatre.media_port}
    before = [frames(page) for page in pages]
    wait_until(lambda: all(frames(page) > seen + 20 for page, seen in zip(pages, before)), 20, "every page to go on")
    assert all(page.evaluate("applianceViewer.joined") > 0 for page in pages), "metadata comes the same way"


def test_a_dead_workers_viewers_come_back_and_the_others_notice_nothing(theatre, pages):
    wait_until(theatre.healthy, 20, "a healthy appliance")
    sessions = [page.evaluate("applianceViewer.sessions") for page in pages]
    staying = viewers(theatre, 1)
    theatre.kill("fanout.0")
    wait_until(lambda: sum(page.evaluate("applianceViewer.sessions") > before for page, before in zip(pages, sessions)) == PAGES - staying, 20,
               "new sessions of those who lost theirs")
    before = [frames(page) for page in pages]
    wait_until(lambda: all(frames(page) > seen + 20 for page, seen in zip(pages, before)), 20, "every page to go on")
    wait_until(theatre.healthy, 20, "a healthy appliance")
    again = [page.evaluate("applianceViewer.sessions") for page in pages]
    assert sum(now == then for now, then in zip(again, sessions)) == staying
    assert udp_ports(theatre.stages()["fanout.0"]) == {theatre.media_port}, "the new process has the port again"


def test_gstreamer_plays_through_it(theatre):
    url = f"{theatre.url}/whep/{theatre.stream}"
    ended = subprocess.run(["/usr/bin/python3", PLAYER, url, theatre.token("expert"), "6"], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert json.loads(ended.stdout.splitlines()[-1])["pictures"] > 20
