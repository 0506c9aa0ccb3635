"""The addresses of this machine, as other machines of the local network reach it."""

from __future__ import annotations

import ipaddress
import socket
import struct
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_ELSEWHERE = ("192.0.2.1", 9)
"""An address that nobody has (RFC 5737). Connecting a datagram socket sends nothing, but chooses the interface."""

_SIOCGIFADDR = 0x8915
"""Linux's request for the address of an interface."""


@dataclass(frozen=True)
class LocalAddress:
    """An IPv4 address of this machine.

    Attributes
    ----------
    address : str
    interface : str
        Name of its network interface; empty if the system does not tell.
    """

    address: str
    interface: str = ""

    def __str__(self) -> str:
        return f"{self.address} ({self.interface})" if self.interface else self.address


def local_addresses() -> tuple[LocalAddress, ...]:
    """Return the addresses of this machine in its networks, the most useful first; empty without a network.

    First comes the one that the system uses for the rest of the world, last those that a machine gives itself when
    nobody assigns one (169.254.0.0/16). The loopback interface is none of them.
    """
    return in_order(_interfaces(), _default_address())


def in_order(interfaces: Mapping[str, str], first: str | None) -> tuple[LocalAddress, ...]:
    """Return addresses as :func:`local_addresses` does.

    Parameters
    ----------
    interfaces : dict
        The addresses with the names of their interfaces.
    first : str or None
        The address that the system uses for the rest of the world; None if there is no way there.
    """
    found = dict(interfaces)
    if first is not None:
        found.setdefault(first, "")
    usable = [address for address in found if not ipaddress.ip_address(address).is_loopback]
    usable.sort(key=lambda address: (address != first, ipaddress.ip_address(address).is_link_local))
    return tuple(LocalAddress(address, found[address]) for address in usable)


def _default_address() -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_ELSEWHERE)
            address = str(probe.getsockname()[0])
        except OSError:  # no network, or one without a way out of it
            return None
    return None if address == "0.0.0.0" else address  # noqa: S104


def _interfaces() -> dict[str, str]:
    """Return the IPv4 addresses of this machine with the names of their interfaces."""
    if sys.platform != "linux":
        try:
            return dict.fromkeys(socket.gethostbyname_ex(socket.gethostname())[2], "")
        except OSError:
            return {}
    import fcntl

    found: dict[str, str] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(probe, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:  # the interface has no IPv4 address
                continue
            found.setdefault(socket.inet_ntoa(answer[20:24]), name)
    return found
