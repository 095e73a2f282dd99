"""What the kernels' tests share: a fan-out at work."""
import contextlib

import pytest

from tests.kernels.fanout_theatre import Theatre


@pytest.fixture
def open_theatre():
    with contextlib.ExitStack() as stack:
        def opened(*arguments, **options):
            theatre = Theatre(*arguments, **options)
            stack.callback(theatre.close)
            return theatre
        yield opened


@pytest.fixture
def theatre(open_theatre):
    return open_theatre()
