"""Edge appliance that shows DICOM Real-Time Video from an operating theatre in plain browsers through WebRTC."""
