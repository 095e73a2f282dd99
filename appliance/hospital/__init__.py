"""The hospital stage: snapshots into the PACS, prior studies out of it, and the worklist's case beside the picture. For experts alone.

It stands beside the picture: it reads rings that go on without it, works at a lower priority, and may fail without anybody losing a frame.
"""
from appliance.hospital.service import run

__all__ = ["run"]
