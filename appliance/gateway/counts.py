"""The gateway's counters, each looked up once. A count is never a reason to fail a request."""
import ssl

from appliance.frame import Audience
from appliance.runtime.counters import Counters
from appliance.runtime.metrics import GATEWAY_REFUSALS, GATEWAY_ROUTES, STATUS_CLASSES


class Counts:
    """Cells by what they count."""

    def __init__(self, counters: Counters) -> None:
        self.requests = {(route, status): counters.counter("appliance_gateway_requests_total", route=route, status=status)
                         for route in GATEWAY_ROUTES for status in STATUS_CLASSES}
        self.refused = {reason: counters.counter("appliance_gateway_refused_total", reason=reason) for reason in GATEWAY_REFUSALS}
        self.joins = {audience: counters.counter("appliance_gateway_joins_total", audience=audience.value) for audience in Audience}
        self.join_time = counters.histogram("appliance_gateway_join_seconds")
        self.malformed = {reason: counters.counter("appliance_gateway_malformed_total", reason=reason) for reason in ("tls", "http")}
        self.connections = counters.gauge("appliance_gateway_connections")

    def answered(self, route: str, status: int) -> None:
        """Counts a response."""
        self.requests[route if route in GATEWAY_ROUTES else "other", f"{status // 100}xx"].add()

    def tls_object(self) -> type[ssl.SSLObject]:
        """An SSLObject (for SSLContext.sslobject_class) that counts handshakes which fail: the loop tells nobody of them."""
        failures = self.malformed["tls"]

        class CountingSSLObject(ssl.SSLObject):
            def do_handshake(self) -> None:
                try:
                    super().do_handshake()
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    raise
                except ssl.SSLError:
                    failures.add()
                    raise

        return CountingSSLObject
