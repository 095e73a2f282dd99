"""systemd's notification protocol, against a real datagram socket."""
import os
import socket

from appliance.runtime.notify import Notifier


def receive_from(address_in_environment, bound):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(bound)
        manager.settimeout(5)
        Notifier({"NOTIFY_SOCKET": address_in_environment}).send(READY=1, STATUS="all stages run")
        return manager.recv(1000)


def test_state_reaches_a_path(tmp_path):
    path = str(tmp_path / "notify")
    assert receive_from(path, path) == b"READY=1\nSTATUS=all stages run"


def test_state_reaches_an_abstract_address():
    name = f"appliance-test-{os.getpid()}"
    assert receive_from("@" + name, "\0" + name).startswith(b"READY=1")


def test_without_systemd_nothing_happens(tmp_path):
    Notifier({}).send(READY=1)
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).send(READY=1)
    assert list(tmp_path.iterdir()) == []


def test_watchdog_interval_is_for_this_process_only():
    assert Notifier({"WATCHDOG_USEC": "10000000"}).watchdog_s == 10
    assert Notifier({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": str(os.getpid())}).watchdog_s == 10
    assert Notifier({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "1"}).watchdog_s is None
    assert Notifier({}).watchdog_s is None
