"""The fan-out while its streams change under it: another ring, none, renditions that go and come, beside one that is watched on."""
import os

import pytest

from cext.ring import EVERY, Ring, RingReader, RingWriter
from tests.kernels.fanout_theatre import KEYFRAME_NALS, SLOT_BYTES, SSRC, delta

CAMERA, ROOM = 0, 1
SMALL_KEYFRAME = [b"\x67" + b"\x17" * 20, b"\x68\xce\x38\x80", b"\x65" + b"\x22" * 5000]


def another_ring(theatre, rendition, codec=b"h264"):
    """Puts a new ring in the place of a rendition's, with its writer."""
    ring, doorbell = Ring.create("units", 8, SLOT_BYTES, EVERY, codec, 2), os.eventfd(0, os.EFD_NONBLOCK)
    theatre.descriptors += [ring.fd, doorbell]
    theatre.writers[rendition], theatre.numbers[rendition] = RingWriter(ring.fd, [doorbell], codec), 1
    return RingReader(ring.fd, 0, doorbell, codec)


def test_a_viewer_goes_on_with_the_first_keyframe_of_another_ring(open_theatre):
    theatre = open_theatre((b"h264", b"h264"))
    viewer, beside = theatre.viewer(rendition=CAMERA), theatre.viewer(rendition=ROOM)
    for rendition, one in ((CAMERA, viewer), (ROOM, beside)):
        theatre.publish(KEYFRAME_NALS, rendition, keyframe=True, timestamp=1800)
        assert one.nals() == KEYFRAME_NALS
    theatre.fanout.set_ring(CAMERA, None)
    theatre.publish(delta(1), ROOM, timestamp=3600)
    assert beside.nals() == delta(1)
    theatre.fanout.set_ring(CAMERA, another_ring(theatre, CAMERA))
    theatre.publish(SMALL_KEYFRAME, CAMERA, keyframe=True, timestamp=5400)
    theatre.publish(delta(2), CAMERA, timestamp=7200)
    assert viewer.nals() == SMALL_KEYFRAME and viewer.nals() == delta(2)
    assert viewer.gapless() and viewer.timestamps == [1800, 5400, 7200]
    theatre.fanout.nack(viewer.identifier, [viewer.sequences[0]])
    assert viewer.resent() == viewer.datagrams[0], "what was sent before is still there to be asked for"


def test_a_rendition_goes_when_nobody_has_it_and_its_place_serves_another(open_theatre):
    theatre = open_theatre((b"h264", b"h264"), renditions_max=2)
    viewer, beside = theatre.viewer(rendition=CAMERA), theatre.viewer(rendition=ROOM)
    with pytest.raises(ValueError):
        theatre.fanout.remove_rendition(ROOM)
    theatre.fanout.remove_viewer(beside.identifier)
    theatre.fanout.remove_rendition(ROOM)
    for gone in (lambda: theatre.fanout.remove_rendition(ROOM), lambda: theatre.fanout.set_ring(ROOM, None), lambda: theatre.fanout.rendition_stats(ROOM)):
        with pytest.raises(KeyError):
            gone()
    theatre.publish(KEYFRAME_NALS, CAMERA, keyframe=True)
    assert viewer.nals() == KEYFRAME_NALS
    reader = another_ring(theatre, ROOM)
    assert theatre.fanout.add_rendition(reader, b"h264", SSRC + 9) == ROOM and theatre.stats(ROOM).units == 0
    with pytest.raises(OverflowError):
        theatre.fanout.add_rendition(reader, b"h264", SSRC + 10)
    fresh = theatre.viewer(rendition=ROOM)
    theatre.publish(SMALL_KEYFRAME, ROOM, keyframe=True)
    assert fresh.nals() == SMALL_KEYFRAME


def test_changes_are_made_before_and_after_it_runs_too(open_theatre):
    theatre = open_theatre((b"h264",))
    theatre.fanout.stop()
    theatre.thread.join()
    theatre.fanout.set_ring(CAMERA, None)
    theatre.fanout.remove_rendition(CAMERA)
