"""Speaks systemd's notification protocol (sd_notify): READY, WATCHDOG, STATUS. Silent where systemd does not listen."""
import os
import socket


class Notifier:
    """Sends state to $NOTIFY_SOCKET."""

    def __init__(self, environment=os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):
            self._address = "\0" + self._address[1:]
        microseconds = environment.get("WATCHDOG_USEC", "")
        concerned = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_s = int(microseconds) / 1e6 if microseconds.isdigit() and concerned else None

    def send(self, **state: str | int) -> None:
        """notify(READY=1, STATUS="...") in one datagram; a service manager that went away is no reason to stop."""
        if not self._address:
            return
        message = "\n".join(f"{name}={value}" for name, value in state.items()).encode()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            try:
                channel.sendto(message, self._address)
            except OSError:
                pass
