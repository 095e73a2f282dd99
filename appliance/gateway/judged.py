"""What the exporter found out about a stream, in the words for a viewer. Asked by the JSON interface at each request.

A class is told the state alone and what the latency is measured from; why, and what to do, is for experts, who may call the theatre.
"""
from appliance.frame import Audience
from appliance.runtime import arriving
from appliance.runtime.counters import Counters
from appliance.runtime.health import BY_ARRIVAL, DOMAINS, FINDINGS, OVERALL, TIME_BASES, Finding, Status
from appliance.runtime.metrics import ARRIVING_FIGURES


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
        said["findings"] = [{"name": finding.name, "domain": finding.domain, "status": finding.status.word, "sentence": finding.sentence + _particulars(counters, stream, finding)} for finding in found]
    return said


def _particulars(counters: Counters, stream: str, finding: Finding) -> str:
    """What is known beyond the sentence: of a flow that is not its SDP's, what it looks like."""
    if finding.name != "mismatch":
        return ""
    figures = {figure: sum(cell.value for cell in counters.segment.find_all(arriving.METRIC, stream=stream, figure=figure)) for figure in ARRIVING_FIGURES}
    seems = arriving.guess_of(figures)
    return f" It seems to be {seems}." if seems else ""
