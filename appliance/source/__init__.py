"""`appliance source`: a synthetic DICOM-RTV sender for rehearsals, the demo and tests.

__main__ calls add_arguments() and run(). It sends ST 2110-20 video and PS3.22 metadata; it receives nothing and needs no appliance.
"""
import argparse
import gc
import os
import signal
from contextlib import suppress

from appliance.source.options import add_arguments, plan

__all__ = ["add_arguments", "run"]

_PRIORITY = -10


def run(options: argparse.Namespace) -> int:
    """Sends until SIGINT, SIGTERM or --seconds; returns 0. Raises ConfigurationError for options that cannot be used."""
    from appliance.source.sender import Sender  # drawing the scene takes a second: wrong options are told at once

    sender = Sender(plan(options))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sender.stop())
    try:
        sender.write_sdp()
        print(sender.describe(), flush=True)
        _keep_time()
        sender.run()
    finally:
        sender.close()
    return 0


def _keep_time() -> None:
    """A camera does not wait for the computer that receives it: where the user may, the source goes before other processes."""
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, _PRIORITY)
    gc.collect()
    gc.freeze()  # a full collection would hold the packets up for half a frame
