"""Stage encode.S.R: planar frames to access units of one rendition, coded once for every viewer."""
from appliance.encode.stage import run

__all__ = ["run"]
