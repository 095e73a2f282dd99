"""Every place where the fan-out reaches into aiortc, aioice, pyOpenSSL and cryptography: one viewer's ICE, DTLS and SCTP, nothing patched.

Called by fanout.session; verify() is called once at start. The libraries are pinned: they move only together with this folder.
"""
import importlib.metadata
import inspect

from aioice.ice import Connection, StunProtocol
from aiortc.rtcdatachannel import RTCDataChannel
from aiortc.rtcdtlstransport import RTCCertificate, RTCDtlsTransport
from aiortc.rtcsctptransport import RTCSctpTransport
from OpenSSL import SSL

from appliance.errors import ApplianceError
from appliance.fanout.hooks.dtls import SRTP_PROFILES, Certificate, DtlsTransport, MediaKeys, library_functions
from appliance.fanout.hooks.ice import IceAgent
from appliance.fanout.hooks.one_port_ice import OnePortAgent
from appliance.fanout.hooks.peer import Peer
from appliance.fanout.hooks.sctp import Association
from appliance.fanout.one_port import OnePort
from appliance.fanout.ports import MediaAddresses, OwnPorts

__all__ = ["Association", "Certificate", "DtlsTransport", "IceAgent", "MediaKeys", "Peer", "ice_agent", "verify"]

VERSIONS = {"aiortc": "1.16.0", "aioice": "0.13.0", "pyopenssl": "26.4.0", "pylibsrtp": "1.0.0", "cryptography": "50.0.2"}

# What we override or call, with the arguments that it takes.
_ARGUMENTS = (
    (Connection, "check_complete", "pair"), (Connection, "check_incoming", "message addr protocol"), (Connection, "data_received", "data component"),
    (Connection, "request_received", "message addr protocol"), (StunProtocol, "send_stun", "message addr"),
    (Connection, "gather_candidates", ""), (Connection, "query_consent", ""), (Connection, "connect", ""), (Connection, "close", ""), (Connection, "add_remote_candidate", "remote_candidate"), (StunProtocol, "datagram_received", "data addr"),
    (RTCCertificate, "_create_ssl_context", "srtp_profiles"), (RTCDtlsTransport, "start", "remoteParameters"), (RTCDtlsTransport, "stop", ""),
    (RTCDtlsTransport, "_send_data", "data"), (RTCDtlsTransport, "_set_role", "role"), (RTCSctpTransport, "start", "remoteCaps remotePort"),
    (RTCSctpTransport, "stop", ""), (RTCSctpTransport, "_handle_data", "data"),
    (RTCSctpTransport, "_send", "stream_id pp_id user_data expiry max_retransmits ordered"), (RTCSctpTransport, "_receive_sack_chunk", "chunk"),
    (RTCSctpTransport, "_receive_chunk", "chunk"),
    (RTCSctpTransport, "_transmit_reconfig", ""), (RTCSctpTransport, "_data_channel_closed", "stream_id"),
    (RTCSctpTransport, "_data_channel_flush", ""), (RTCSctpTransport, "_set_state", "state"),
    (SSL.Connection, "export_keying_material", "label olen context"), (SSL.Connection, "get_selected_srtp_profile", ""),
)
# What we read of their state.
_STATE = {
    IceAgent: "_nominated _protocols _closing _local_candidates _local_candidates_start _local_candidates_end remote_username remote_password "
              "_tie_breaker ice_controlling",
    DtlsTransport: "_srtp_profiles _ssl _rx_srtp _tx_srtp _data_receiver",
    Association: "_advertised_rwnd _data_channels _sack_misordered _local_tsn _loop _local_port _remote_port _remote_max_message_size "
                 "_local_verification_tag _remote_verification_tag",
    SSL.Connection: "_ssl _into_ssl _from_ssl",
}


class _Nobody:
    """Hears the events of transports that verify() makes and never opens."""

    def channel_opened(self, channel: RTCDataChannel) -> None: ...


def ice_agent(ports: OwnPorts | OnePort, peer: Peer) -> IceAgent:
    """The ICE agent for a viewer's transport, on its own ports or on the shared one."""
    return OnePortAgent(ports, peer) if isinstance(ports, OnePort) else IceAgent(ports, peer)


def verify() -> None:
    """Checks that the libraries are the ones these hooks were written for; ApplianceError names the first that is not. Needs a running loop."""
    for name, pinned in VERSIONS.items():
        installed = importlib.metadata.version(name)
        if installed != pinned:
            raise ApplianceError(f"the fan-out needs {name} {pinned}, found {installed}; install what pyproject.toml pins")
    for owner, name, arguments in _ARGUMENTS:
        function = getattr(owner, name, None)
        found = list(inspect.signature(function).parameters)[1:] if function else None
        if found != arguments.split():
            raise _moved(f"{owner.__module__}.{owner.__name__}.{name}", f"takes ({arguments.replace(' ', ', ')})")
    try:
        library_functions()
    except AttributeError as error:
        raise _moved(f"libssl of cryptography ({error})", "exports it") from None
    ice = IceAgent(OwnPorts(MediaAddresses(()), None), _Nobody())
    certificate = Certificate.make()
    dtls, connection = DtlsTransport(ice, certificate, _Nobody()), SSL.Connection(certificate._create_ssl_context(SRTP_PROFILES))
    for part in (ice, dtls, Association(dtls, _Nobody()), connection):
        for name in _STATE[type(part)].split():
            if not hasattr(part, name):
                raise _moved(f"{type(part).__name__}.{name}", "exists")


def _moved(name: str, expected: str) -> ApplianceError:
    versions = ", ".join(f"{library} {version}" for library, version in VERSIONS.items())
    return ApplianceError(f"{name} is not as the fan-out's hooks expect it: it {expected} in {versions}")
