"""Each way to receive a flow, for the tests that hold them equal; and a network of a test's own."""
import os

import pytest

from appliance.runtime.metrics import INGEST_BACKENDS, PACKET_RING
from tests.network.wire import own_network


@pytest.fixture(params=INGEST_BACKENDS)
def receive(request):
    """Each way to receive in turn."""
    if request.param == PACKET_RING and os.geteuid() != 0:
        pytest.skip("packet rings need CAP_NET_RAW: run the tests as root")
    return request.param


@pytest.fixture
def network():
    """The test runs in a network namespace with a cable (tests.network.wire); nothing leaves it."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need privileges: run the tests as root")
    with own_network():
        yield
