"""The ingest stage: one video flow from the network into the raw ring. Started as `stage ingest.STREAM`."""
from appliance.ingest.stage import run

__all__ = ["run"]
