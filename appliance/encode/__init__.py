"""Stage encode.S.R: planar frames to access units of the coding R on every level, made once for every viewer."""
from appliance.encode.stage import run

__all__ = ["run"]
