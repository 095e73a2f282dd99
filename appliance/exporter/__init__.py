"""The exporter stage: what everybody may know of the appliance's state, and once a second the judgement of it. Started as `stage exporter`."""
from appliance.exporter.exposition import application, problems
from appliance.exporter.stage import run

__all__ = ["application", "problems", "run"]
