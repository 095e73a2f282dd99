"""What sound the source is asked to send: its options on the command line, checked. Part of options.py."""
import argparse

from appliance.errors import ConfigurationError
from appliance.protocol.channel_order import CHANNELS_MAX
from appliance.protocol.pcm import DEPTHS
from appliance.protocol.sdp import AUDIO_RATES_HZ
from appliance.source import destination
from appliance.source.sound import SoundPlan

_PACKET_US = (125, 250, 333, 1000, 4000)  # ST 2110-30 has the first and the fourth; AES67 the others, too
_UDP_OCTETS_MAX = 1460 - 8                # of a datagram's payload (ST 2110-10 section 6.3)
_RTP_HEADER_BYTES = 12
_GROUPS_APART, _PORTS_APART = 2, 4        # from the video's, beyond the metadata's


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the sound's options to the source's."""
    parser.add_argument("--sound", action="store_true", help="send sound as well: a beep every second, when the picture flashes")
    parser.add_argument("--sound-group", help="where the sound goes (default: two groups after the video's; a receiver's address: the same)")
    parser.add_argument("--sound-port", type=int, help="UDP port of the sound (default: the video's + 4)")
    parser.add_argument("--sound-rate", type=int, default=48_000, help="samples a second: 44100, 48000 or 96000 (default: 48000)")
    parser.add_argument("--sound-depth", type=int, default=24, help="bits a sample, 16 or 24 (default: 24)")
    parser.add_argument("--sound-channels", type=int, default=2, help=f"1 to {CHANNELS_MAX} (default: 2)")
    parser.add_argument("--sound-packet-us", type=int, default=1000, help="microseconds of sound in a packet: 125, 250, 333, 1000 or 4000 (default: 1000)")


def plan(options: argparse.Namespace, group: str, port: int) -> SoundPlan | None:
    """The checked order, None without --sound. Raises ConfigurationError naming the first option that cannot be used."""
    if not options.sound:
        return None
    for name, value, allowed in (("--sound-rate", options.sound_rate, AUDIO_RATES_HZ), ("--sound-depth", options.sound_depth, DEPTHS),
                                 ("--sound-packet-us", options.sound_packet_us, _PACKET_US)):
        if value not in allowed:
            raise ConfigurationError(name, " or ".join(map(str, allowed)), str(value))
    if not 1 <= options.sound_channels <= CHANNELS_MAX:
        raise ConfigurationError("--sound-channels", f"1 to {CHANNELS_MAX}", str(options.sound_channels))
    sound_group = destination.group("--sound-group", options.sound_group or destination.following(group, _GROUPS_APART))
    sound_port = destination.port("--sound-port", options.sound_port or port + _PORTS_APART)
    found = SoundPlan(sound_group, sound_port, options.sound_rate, options.sound_depth, options.sound_channels, options.sound_packet_us)
    octets = _RTP_HEADER_BYTES + round(found.rate_hz * found.packet_us / 1_000_000) * found.channels * found.depth // 8
    if octets > _UDP_OCTETS_MAX:
        raise ConfigurationError("--sound-channels, --sound-packet-us", f"packets of at most {_UDP_OCTETS_MAX} octets", str(octets),
                                 "Send shorter packets: --sound-packet-us 125.")
    return found
