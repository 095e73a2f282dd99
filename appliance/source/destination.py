"""Where a flow of the source goes: groups and ports as an option gives them, checked. Called by options.py and the modules that it is made of."""
import ipaddress

from appliance.errors import ConfigurationError


def group(option: str, text: str) -> str:
    """The IPv4 text of a multicast group or of a receiver's address. Raises ConfigurationError."""
    try:
        address = ipaddress.IPv4Address(text)
    except ipaddress.AddressValueError:
        raise ConfigurationError(option, "an IPv4 multicast group or address", text) from None
    if address.is_unspecified or int(address) == 0xFFFF_FFFF:
        raise ConfigurationError(option, "an IPv4 multicast group or a receiver's address", text)
    return str(address)


def port(option: str, number: int) -> int:
    """The port. Raises ConfigurationError."""
    if not 1 <= number <= 65535:
        raise ConfigurationError(option, "a port of 1 to 65535", str(number))
    return number


def following(text: str, apart: int) -> str:
    """The multicast group so many after another; a receiver's address stays as it is."""
    address = ipaddress.IPv4Address(text)
    after = ipaddress.IPv4Address(int(address) + apart)
    return str(after) if address.is_multicast and after.is_multicast else text
