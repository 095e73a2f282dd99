"""The fan-out stage: each access unit packetised once, encrypted for and sent to every viewer over WebRTC."""
from appliance.fanout.stage import run

__all__ = ["run"]
