"""Stage metadata.S: DICOM-RTV grains from the network, checked and attributed, to one record a grain for each audience."""
from appliance.metadata.stage import run

__all__ = ["run"]
