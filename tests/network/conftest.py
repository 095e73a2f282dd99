"""Each way to receive a flow, for the tests that hold them equal."""
import os

import pytest

from appliance.runtime.metrics import INGEST_BACKENDS, PACKET_RING


@pytest.fixture(params=INGEST_BACKENDS)
def receive(request):
    """Each way to receive in turn."""
    if request.param == PACKET_RING and os.geteuid() != 0:
        pytest.skip("packet rings need CAP_NET_RAW: run the tests as root")
    return request.param
