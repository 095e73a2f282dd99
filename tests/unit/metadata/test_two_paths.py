"""A metadata flow by two paths (ST 2022-7): every grain once, whichever path brings it."""
import socket
import threading
import time

from appliance.metadata import run
from appliance.protocol import sdp
from tests.unit.metadata.test_stage import FLAGS_ID, LIMIT_S, PAYLOAD_TYPE, packet
from tests.unit.protocol.test_dicom_rtv import FULL
from tests.workbench import Workbench


def free_address():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()


def test_grains_of_two_paths_are_merged(tmp_path):
    addresses = free_address(), free_address()
    flow = sdp.MetadataFlow(group="127.0.0.1", port=addresses[0][1], payload_type=PAYLOAD_TYPE, extension_ids={sdp.GRAIN_FLAGS_URI: FLAGS_ID},
                            second=sdp.Leg(group="127.0.0.1", port=addresses[1][1], payload_type=PAYLOAD_TYPE))
    (tmp_path / "m.sdp").write_text(sdp.emit_metadata(flow))
    bench = Workbench(tmp_path, "metadata.scope", stream='metadata = "m.sdp"\npath_skew_ms = 50')
    thread = threading.Thread(target=run, args=[bench.stage])
    thread.start()
    try:
        deadline = time.monotonic() + LIMIT_S
        while not bench.value("appliance_stage_ready"):
            assert time.monotonic() < deadline and thread.is_alive()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for number in range(60):
                for path in (0, 1):
                    if number % 7 != 3 + path:  # each path loses what the other brings
                        sender.sendto(packet(FULL, number), addresses[path])
                while bench.value("appliance_metadata_grains_total") <= number:
                    assert time.monotonic() < deadline, bench.value("appliance_metadata_grains_total")
        assert bench.value("appliance_metadata_packets_lost_total") == bench.value("appliance_metadata_packets_late_total") == 0
    finally:
        bench.stage.stop()
        thread.join(LIMIT_S)
        bench.close()
