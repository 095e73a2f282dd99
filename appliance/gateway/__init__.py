"""The gateway stage: HTTPS for the viewer page, WHEP and the JSON API. Says who may see what; carries no media itself.

It keeps nothing that a session needs, so that a restart loses none.
"""
from appliance.gateway.server import run

__all__ = ["run"]
