"""Sans-IO wire formats: bytes in, values out. No socket, clock, log or thread here."""
