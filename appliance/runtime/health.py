"""The words for how a stream is doing, after AMWA BCP-008-01 (receiver status): one table of everything that can be found wrong.

The exporter finds, the gateway and `appliance status` say. A domain is as bad as its worst finding, a stream as its worst domain.
"""
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum


class Status(IntEnum):
    """The standard's states with its numbers."""

    INACTIVE = 0
    HEALTHY = 1
    PARTIALLY_HEALTHY = 2
    UNHEALTHY = 3

    @property
    def word(self) -> str:
        """"partially healthy"."""
        return self.name.lower().replace("_", " ")


INACTIVE, HEALTHY, PARTIALLY_HEALTHY, UNHEALTHY = Status

LINK, CONNECTION, SYNCHRONISATION, STREAM = DOMAINS = ("link", "connection", "external_synchronisation", "stream")
OVERALL = "overall"

BY_PTP, BY_CLOCK, BY_ARRIVAL = TIME_BASES = ("ptp", "clock", "arrival")
"""What capture times rest on: PTP here and at the sender; a clock here that NTP or the like sets; else the arrival of the packets."""

REPORTING_DELAY_S = 3.0
"""Source: BCP-008-01, statusReportingDelay: worse is said at once, better after so long."""


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be. `sentence` says what it means and what to do, to a person who does not know the figures."""

    name: str
    domain: str
    status: Status
    sentence: str


FINDINGS = {finding.name: finding for finding in (
    Finding("link_down", LINK, UNHEALTHY, "No network cable that the stream comes by has a link: check cable, switch port and interface."),
    Finding("one_link_down", LINK, PARTIALLY_HEALTHY, "One of the two paths has no link: the stream is unprotected. Check its cable and switch port."),
    Finding("silent", CONNECTION, UNHEALTHY, "No packets come: is the source on, and does the switch forward its group to this machine?"),
    Finding("lost", CONNECTION, UNHEALTHY, "Packets are lost on the network: look for a full link or a bad cable."),
    Finding("kernel_drops", CONNECTION, UNHEALTHY, "This machine takes packets too slowly: give it more processor time or a larger receive buffer."),
    Finding("late", CONNECTION, PARTIALLY_HEALTHY,
            "Packets come too late for their picture, and none is lost: the sender stalls, or this machine is short of processor time."),
    Finding("path_silent", CONNECTION, PARTIALLY_HEALTHY, "One of the two paths brings nothing: the stream is unprotected."),
    Finding("recovered", CONNECTION, PARTIALLY_HEALTHY, "A path loses packets, and the other replaces them. Look for a full link or a bad cable."),
    Finding("ptp_not_locked", SYNCHRONISATION, UNHEALTHY, "PTP runs on this machine and is not locked to a grandmaster: times are by arrival."),
    Finding("grandmaster", SYNCHRONISATION, PARTIALLY_HEALTHY,
            "This machine follows another PTP grandmaster than the one that the sender's SDP names: times are by arrival. One of the two must be set right."),
    Finding("other_grandmaster", SYNCHRONISATION, PARTIALLY_HEALTHY,
            "The sound's or the metadata's SDP names another PTP grandmaster than the picture has: they may be apart in time. All must follow one."),
    Finding("system_clock", SYNCHRONISATION, PARTIALLY_HEALTHY,
            "PTP is locked, but nothing sets this machine's clock by it (phc2sys does): times are by arrival."),
    Finding("tai_offset", SYNCHRONISATION, PARTIALLY_HEALTHY, "This machine's leap seconds differ from those that PTP tells: every time is off by whole seconds."),
    Finding("no_ptp", SYNCHRONISATION, PARTIALLY_HEALTHY, "There is no PTP on this machine: times are by arrival, and the latency shown leaves out the way to here."),
    Finding("no_ptp_but_clock", SYNCHRONISATION, PARTIALLY_HEALTHY,
            "There is no PTP on this machine; its clock is set by NTP or the like: times are good to some milliseconds."),
    Finding("sender_clock", SYNCHRONISATION, PARTIALLY_HEALTHY, "The sender's times are far from this machine's: its clock is not on PTP. Times are by arrival."),
    Finding("mismatch", STREAM, UNHEALTHY, "What comes is not what the SDP describes: no picture is shown. Fetch the SDP from the device again."),
    Finding("no_pictures", STREAM, UNHEALTHY, "Packets come, but no picture can be made of them: does the SDP belong to this sender?"),
    Finding("incomplete", STREAM, UNHEALTHY, "Most pictures have holes."),
    Finding("some_incomplete", STREAM, PARTIALLY_HEALTHY, "Some pictures have holes, which show what was there before."),
    Finding("refused", STREAM, PARTIALLY_HEALTHY, "Some packets break their format, or come from another sender to the same address."),
    Finding("dropped", STREAM, PARTIALLY_HEALTHY, "Pictures are dropped inside the appliance: it is short of processor time."),
    Finding("metadata", STREAM, PARTIALLY_HEALTHY, "The theatre's DICOM metadata has stopped."),
    Finding("sound", STREAM, PARTIALLY_HEALTHY, "No sound comes from the theatre: is its sender on, and does the switch forward its group to this machine?"),
    Finding("sender_type", STREAM, PARTIALLY_HEALTHY, "The sender bunches its packets more than its SDP promises (ST 2110-21), says the network card's clock."),
)}
"""By name; the worst of a domain first."""


def judge(names: Iterable[str], active: bool = True, uses_clock: bool = True) -> dict[str, Status]:
    """The status of every domain and OVERALL. Without `active` all is inactive; without `uses_clock` nothing depends on synchronisation."""
    if not active:
        return dict.fromkeys((*DOMAINS, OVERALL), INACTIVE)
    found = dict.fromkeys(DOMAINS, HEALTHY)
    if not uses_clock:
        found[SYNCHRONISATION] = INACTIVE
    for name in names:
        finding = FINDINGS[name]
        found[finding.domain] = max(found[finding.domain], finding.status)
    return found | {OVERALL: max(found.values())}
