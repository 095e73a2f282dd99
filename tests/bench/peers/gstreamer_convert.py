"""GStreamer's videoconvert, one thread, UYVP to I420: for each octet on standard input it converts one frame, then writes an octet.

Started by tests/bench/test_convert_bench.py with the interpreter that has GStreamer's bindings.
"""
import os
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
from gi.repository import Gst, GstApp  # noqa: E402, F401

PIPELINE = """appsrc name=source format=time caps=video/x-raw,format=UYVP,width={width},height={height},framerate=50/1,interlace-mode=progressive
 ! videoconvert n-threads=1 ! video/x-raw,format=I420 ! appsink name=sink sync=false max-buffers=1"""


def main() -> None:
    """Arguments: width, height, how many different frames there are in turn."""
    width, height, count = map(int, sys.argv[1:])
    Gst.init(None)
    pipeline = Gst.parse_launch(PIPELINE.format(width=width, height=height))
    source, sink = pipeline.get_by_name("source"), pipeline.get_by_name("sink")
    frames = [os.urandom(width * height * 5 // 2) for _ in range(count)]
    pipeline.set_state(Gst.State.PLAYING)
    number = 0
    while os.read(0, 1):
        buffer = Gst.Buffer.new_wrapped(frames[number % count])
        buffer.pts = number * Gst.SECOND // 50
        source.emit("push-buffer", buffer)
        if sink.emit("pull-sample") is None:
            raise SystemExit("the pipeline ended")
        os.write(1, b".")
        number += 1
    pipeline.set_state(Gst.State.NULL)


if __name__ == "__main__":
    main()
