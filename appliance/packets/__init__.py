"""Packets to a file and back: `appliance record-packets` and `appliance replay`, for the AV engineer and for whom the file is sent to."""
