"""De-identification of grains for a class: PS3.15 annex E, Basic Profile with modified dates, and what PS3.22 adds. Called by the metadata stage.

Invariant: an octet leaves only if a rule made it or let it pass; whatever no rule knows is gone, and a grain that cannot be treated is refused.
"""
from appliance.protocol.deidentification.engine import REASONS, Deidentifier

__all__ = ["REASONS", "Deidentifier"]
