"""What the exporter found out about a stream, in the words for a viewer. Asked by the JSON interface at each request.

A class is told the state alone and what the latency is measured from; why, and what to do, is for experts, who may call the theatre.
"""
from appliance.frame import Audience
from appliance.runtime.counters import Counters
from appliance.runtime.health import BY_ARRIVAL, DOMAINS, FINDINGS, OVERALL, TIME_BASES, Status


def judged(counters: Counters, stream: str, audience: Audience) -> dict:
    """`status` and `time` of a stream; for experts `domains` and `findings` as well, the worst first."""
    def value(name: str, **labels: str) -> int:
        return counters.segment.find("exporter", f"appliance_stream_{name}", stream=stream, **labels).value

    def status(domain: str) -> str:
        return Status(value("status", domain=domain)).word

    # Until the exporter has spoken, nothing says that the clocks agree.
    basis = next((basis for basis in TIME_BASES if value("time_info", basis=basis)), BY_ARRIVAL)
    said = {"status": status(OVERALL), "time": basis}
    if audience is Audience.EXPERT:
        found = sorted((finding for finding in FINDINGS.values() if value("finding", reason=finding.name)), key=lambda finding: -finding.status)
        said["domains"] = {domain: status(domain) for domain in DOMAINS}
        said["findings"] = [{"name": finding.name, "domain": finding.domain, "status": finding.status.word, "sentence": finding.sentence} for finding in found]
    return said
