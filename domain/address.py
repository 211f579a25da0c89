"""Addresses: what a destination's address may be, and which IP addresses it may never reach."""

import ipaddress
import re
from collections.abc import Collection, Iterator, Sequence
from typing import TypeAlias
from urllib.parse import SplitResult, urlsplit

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

HTTPS_PORTS = frozenset({443, 8443})

NAME = re.compile(r"(?=[a-z0-9_])[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*(?<![.-])\.?", re.ASCII)
LONGEST_NAME = 253
FOUR_NUMBERS = re.compile(r"\d+(\.\d+){3}", re.ASCII)
"""Looks like an IPv4 address; what is none (0177.0.0.1) is read as different hosts."""

NEVER_PUBLIC = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
        "::/8",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",
        "fe80::/9",
        "ff00::/8",
        *("::/3", "4000::/2", "8000::/1"),  # all that is not global unicast, 2000::/3 (RFC 4291)
    )
)
"""IANA's special-purpose registries (RFC 6890), with the forms that smuggle an IPv4 address:
mapped, NAT64 (RFC 6052), 6to4 and Teredo. `ipaddress.is_global` lets several of them through."""

NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")
CARRIERS = (
    NAT64,
    LOCAL_NAT64,
    *map(ipaddress.IPv6Network, ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96")),
)
"""IPv6 networks whose addresses end in an IPv4 address: NAT64 (RFC 6052, RFC 8215), compatible
(RFC 4291), mapped, and translated (RFC 2765)."""
ISATAP = 0x0000_5EFE

METADATA = tuple(
    ipaddress.ip_network(text)
    for text in (
        "169.254.0.0/16",  # nearly all of them
        "100.100.100.200/32",  # Alibaba
        "168.63.129.16/32",  # Azure's wire server: among public addresses
        "192.0.0.192/32",  # Oracle
        "fd00:ec2::254/128",  # AWS
        "fd20:ce::254/128",  # Google
        "fd00:c1::a9fe:a9fe/128",  # Oracle
        "fd00:42::42/128",  # Scaleway
        "fe80::a9fe:a9fe/128",  # OpenStack
    )
)
"""Cloud metadata services: refused even when PRIVATE_DESTINATIONS would allow them."""


class DestinationUrlError(ValueError):
    """The address cannot be a destination; the message says why and names no part of it."""


def check_destination_url(
    text: str, *, private: Collection[Network] = (), own_hosts: Collection[str] = ()
) -> str:
    """Return the address when it may be a destination. Raises DestinationUrlError.

    https on port 443 or 8443. Plain http and other ports only where ``private`` networks are
    allowed, and then the address reached must lie inside one (checked at connect time).
    """
    parts = _split(text)
    if parts.username is not None or parts.password is not None:
        raise DestinationUrlError("must not carry a user name or password")
    if not parts.hostname:
        raise DestinationUrlError("names no host")
    if parts.hostname.rstrip(".").lower() in own_hosts:
        raise DestinationUrlError("is this relay's own address: alerts would go round in circles")
    if not private and must_be_private(parts.scheme, port_of(parts)):
        raise DestinationUrlError(
            "must be https on port 443 or 8443 (PRIVATE_DESTINATIONS allows others on own networks)"
        )
    _check_literal(parts, private)
    return text.strip()


def must_be_private(scheme: str, port: int) -> bool:
    """Whether a destination is acceptable only inside PRIVATE_DESTINATIONS."""
    return scheme != "https" or port not in HTTPS_PORTS


def is_forbidden(address: Address, *, private: Collection[Network], only_private: bool) -> bool:
    """Whether a connection to this very address must not be made.

    An address that carries another (see ``carried_by``) is no better than that one; NAT64 may be
    among the private networks, for whoever has no other way to IPv4.
    """
    carried = list(carried_by(address))
    if any(_within(one, METADATA) for one in (address, *carried)):
        return True
    plain = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    address = plain or address
    if _within(address, private):
        return address in NAT64 and any(
            is_forbidden(one, private=private, only_private=only_private) for one in carried
        )
    return only_private or any(_within(one, NEVER_PUBLIC) for one in (address, *carried))


def carried_by(address: Address) -> Iterator[ipaddress.IPv4Address]:
    """The IPv4 addresses that something on the way may make of this one."""
    if isinstance(address, ipaddress.IPv4Address):
        return
    number = int(address)
    last = ipaddress.IPv4Address(number & 0xFFFF_FFFF)
    if _within(address, CARRIERS) or number >> 32 & 0xFDFF_FFFF == ISATAP:
        yield last
    if address in LOCAL_NAT64:  # as a /48, it stands on both sides of an octet (RFC 6052, 2.2)
        yield ipaddress.IPv4Address((number >> 64 & 0xFFFF) << 16 | number >> 40 & 0xFFFF)
    if address.sixtofour is not None:
        yield address.sixtofour
    yield from address.teredo or ()


def shown(url: str) -> str:
    """An address for people: the host, and nothing that could be a password (paths often are)."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}/•••"


def port_of(parts: SplitResult) -> int:
    """The port an http or https address leads to."""
    default = 443 if parts.scheme == "https" else 80
    return default if parts.port is None else parts.port


def _split(text: str) -> SplitResult:
    text = text.strip()
    if not re.fullmatch(r"[!-~]+", text) or "\\" in text:
        raise DestinationUrlError("has a blank or a sign in it that no address has")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise DestinationUrlError("is not an address") from error
    if port == 0 or "%" in parts.netloc:
        raise DestinationUrlError("is not an address: port 0, or a sign in percent")
    if parts.scheme not in {"http", "https"}:
        raise DestinationUrlError("must start with https://")
    return parts


def _check_literal(parts: SplitResult, private: Collection[Network]) -> None:
    host = parts.hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if not _may_be_name(host):
            raise DestinationUrlError("names no host that could be reached") from None
        return
    only_private = must_be_private(parts.scheme, port_of(parts))
    if is_forbidden(address, private=private, only_private=only_private):
        raise DestinationUrlError("is a private or special address (see PRIVATE_DESTINATIONS)")


def _may_be_name(host: str) -> bool:
    if len(host.rstrip(".")) > LONGEST_NAME or FOUR_NUMBERS.fullmatch(host):
        return False
    return NAME.fullmatch(host) is not None


def _within(address: Address, networks: Collection[Network] | Sequence[Network]) -> bool:
    return any(address.version == n.version and address in n for n in networks)
