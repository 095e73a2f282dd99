"""The sound stage: one ST 2110-30 flow in, Opus for the fan-out workers out. The supervisor starts it as `stage sound.STREAM`."""
from appliance.sound.stage import run

__all__ = ["run"]
