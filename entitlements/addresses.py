"""What is on this machine."""

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """True of a name or an address of this machine alone."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
