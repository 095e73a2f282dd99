"""The metadata stage with real sockets and WebSockets: several flows of a stream, and what they say together."""
import socket
import threading
import time

import pytest

from appliance.frame import COMPANION
from appliance.metadata import run
from appliance.protocol import grain, rtp, sdp
from appliance.source.websocket import MetadataServer
from tests.unit.metadata.test_relay import of_patient
from tests.unit.protocol.test_attribution import audio_grain, audio_static
from tests.unit.protocol.test_dicom_rtv import FULL
from tests.workbench import Workbench

PAYLOAD_TYPE, FLAGS_ID, LIMIT_S = 104, 5, 20


def packet(payload: bytes, sequence: int, payload_type: int = PAYLOAD_TYPE) -> bytes:
    header = rtp.RtpHeader(payload_type, sequence, 1000 + sequence, 7, marker=True)
    return rtp.build(header, payload, {FLAGS_ID: bytes([grain.START | grain.END])})


def audio_of(patient_id: str) -> bytes:
    static = audio_static()
    static.PatientID = patient_id
    return audio_grain(static=static)


class Flows:
    """A stage that receives the picture's flow by UDP and another one by WebSocket."""

    def __init__(self, folder):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = probe.getsockname()
        flow = sdp.MetadataFlow(group="127.0.0.1", port=self.address[1], payload_type=PAYLOAD_TYPE, extension_ids={sdp.GRAIN_FLAGS_URI: FLAGS_ID})
        (folder / "m.sdp").write_text(sdp.emit_metadata(flow))
        self.server = MetadataServer("127.0.0.1", 0)
        self.bench = Workbench(folder, "metadata.scope", stream=f'metadata = ["m.sdp", "ws://127.0.0.1:{self.server.port}"]')
        self.sequence = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._thread = threading.Thread(target=run, args=[self.bench.stage])
        self._thread.start()
        self.wait(lambda: self.value("appliance_metadata_websocket_connections_total") == 1)

    def value(self, name: str, **labels: str) -> int:
        return self.bench.value(f"{name}", **labels)

    def send(self, payload: bytes) -> None:
        """A grain of the picture's flow."""
        self.sequence += 1
        self._socket.sendto(packet(payload, self.sequence), self.address)

    def offer(self, payload: bytes) -> None:
        """A grain of the flow that comes over the WebSocket."""
        self.sequence += 1
        self.server.send(packet(payload, self.sequence, 110))

    def wait(self, true) -> None:
        deadline = time.monotonic() + LIMIT_S
        while not true():
            assert time.monotonic() < deadline and self._thread.is_alive()
            time.sleep(0.01)

    def close(self) -> None:
        self.bench.stage.stop()
        self._thread.join()
        self._socket.close()
        self.server.close()
        self.bench.close()


@pytest.fixture
def flows(tmp_path):
    made = Flows(tmp_path)
    yield made
    made.close()


def test_flows_from_everywhere_are_received_and_the_first_is_the_pictures(flows):
    reader = flows.bench.reader_of("records.scope.expert.0")
    flows.offer(audio_of("HOSP-4711"))
    flows.send(FULL)
    flows.wait(lambda: flows.value("appliance_metadata_grains_total") == 2)
    assert [flows.value("appliance_metadata_grains_understood_total", kind=kind) for kind in ("video", "audio")] == [1, 1]
    found = {}
    while (slot := reader.lease_next()) is not None:
        with memoryview(slot) as octets:
            found[bool(slot.flags & COMPANION)] = bytes(octets[16:slot.payload_bytes])
        slot.release()
    assert found == {False: FULL, True: audio_of("HOSP-4711")}


def test_flows_that_name_different_patients_are_a_conflict(flows):
    flows.send(of_patient("A"))
    flows.offer(audio_of("B"))
    flows.wait(lambda: flows.value("appliance_metadata_subject_conflict") == 1)
    flows.offer(audio_of("A"))
    flows.wait(lambda: flows.value("appliance_metadata_subject_conflict") == 0)
