"""The version, as installed."""
from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("dicom-rtv-appliance")
except PackageNotFoundError:  # run from a tree that was never installed
    VERSION = "0"
