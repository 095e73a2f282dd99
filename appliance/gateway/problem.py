"""A refusal of an HTTP request: status, a sentence for a person, and the word that the counters know it by."""
import json
import random
from http import HTTPStatus

from aiohttp import web

from appliance.errors import ApplianceError
from appliance.runtime.metrics import GATEWAY_REFUSALS


class Problem(ApplianceError):
    """Raised by whoever handles a request; the application turns it into application/problem+json (RFC 9457)."""

    def __init__(self, status: int, reason: str, sentence: str, headers: dict[str, str] | None = None, close: bool = False) -> None:
        assert reason in GATEWAY_REFUSALS, f"runtime/metrics.py does not know the reason {reason}"
        self.status, self.reason, self.sentence, self.headers = status, reason, sentence, headers or {}
        self.close = close  # the connection, for the rest of the request cannot be trusted
        super().__init__(sentence)

    def response(self) -> web.Response:
        """The HTTP response."""
        body = {"type": "about:blank", "title": HTTPStatus(self.status).phrase, "status": self.status, "detail": self.sentence, "reason": self.reason}
        response = web.Response(status=self.status, body=json.dumps(body).encode(), headers={**self.headers, "Content-Type": "application/problem+json"})
        if self.close:
            response.force_close()
        return response


def retry_after(seconds: int, spread_s: int = 0) -> dict[str, str]:
    """The header that says when to come back: up to `spread_s` later for some, so that a class that was refused together does not return together."""
    return {"Retry-After": str(random.randint(seconds, seconds + spread_s))}
