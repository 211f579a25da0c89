"""Origins: who calls, through which proxies, and how callers are told apart when counted."""

import ipaddress
from collections.abc import Sequence
from typing import TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

LEAST_PREFIX = {4: 8, 6: 7}
"""10.0.0.0/8 and fc00::/7 are whole private networks; what is wider is the internet."""

ONE_CUSTOMER = 64
"""Bits of an IPv6 address that a provider gives away: the rest costs nobody anything."""


def caller(peer: str, forwarded: Sequence[str], trusted: Sequence[Network]) -> str:
    """The address of who calls: the right-most hop that is none of the ``trusted`` proxies.

    ``forwarded`` are the values of all `X-Forwarded-For` headers as they came. Whatever stands left
    of that hop was written by strangers. A hop that is no address ends the walk at the one before.
    """
    nearest = address_of(peer)
    if nearest is None or not is_within(nearest, trusted):
        return peer
    for hop in reversed(",".join(forwarded).split(",")):
        address = address_of(without_port(hop.strip(" \t")))
        if address is None:
            break
        nearest = address
        if not is_within(address, trusted):
            break
    return str(nearest)


def without_port(hop: str) -> str:
    """``192.0.2.1:80`` and ``[2001:db8::1]:80`` as the address alone; anything else as it is."""
    if hop.startswith("["):
        inside, closed, port = hop[1:].partition("]")
        if closed and (not port or (port[0] == ":" and is_port(port[1:]))) and ":" in inside:
            return inside
        return hop
    name, found, port = hop.partition(":")
    return name if found and is_port(port) else hop


def is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 5


def address_of(text: str) -> Address | None:
    """An address, with one of IPv4 inside IPv6 as what it is; None where a text is none."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address):
        return None if found.scope_id else found.ipv4_mapped or found
    return found


def is_within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def counted_as(origin: str) -> str:
    """As whom a caller is counted: IPv4 by the address, IPv6 by the network of one customer."""
    address = address_of(origin)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, ONE_CUSTOMER), strict=False))
    return str(address) if address else origin[:64]


def is_everybody(network: Network) -> bool:
    """Whether a network is so wide that to trust it is to trust the internet."""
    return network.prefixlen < LEAST_PREFIX[network.version]
