"""Addresses: what a destination's address may be, and which IP addresses it may never reach."""

import ipaddress
import re
from collections.abc import Collection, Sequence
from typing import TypeAlias
from urllib.parse import SplitResult, urlsplit

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

HTTPS_PORTS = frozenset({443, 8443})

NAME = re.compile(r"[a-z0-9_]([a-z0-9._-]{0,252}[a-z0-9_])?\.?", re.ASCII)
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
    )
)
"""IANA's special-purpose registries (RFC 6890), with the forms that smuggle an IPv4 address:
mapped, NAT64 (RFC 6052), 6to4 and Teredo. `ipaddress.is_global` lets several of them through."""

METADATA = tuple(
    ipaddress.ip_network(text)
    for text in ("169.254.0.0/16", "fd00:ec2::254/128", "100.100.100.200/32")
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
    """Whether a connection to this very address must not be made."""
    plain = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    address = plain or address
    if _within(address, METADATA):
        return True
    if _within(address, private):
        return False
    return only_private or _within(address, NEVER_PUBLIC)


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
        _ = parts.port
    except ValueError as error:
        raise DestinationUrlError("is not an address") from error
    if parts.scheme not in {"http", "https"}:
        raise DestinationUrlError("must start with https://")
    return parts


def _check_literal(parts: SplitResult, private: Collection[Network]) -> None:
    try:
        address = ipaddress.ip_address(parts.hostname or "")
    except ValueError:
        if not NAME.fullmatch(parts.hostname or "") or FOUR_NUMBERS.fullmatch(parts.hostname or ""):
            raise DestinationUrlError("names no host that could be reached") from None
        return
    only_private = must_be_private(parts.scheme, port_of(parts))
    if is_forbidden(address, private=private, only_private=only_private):
        raise DestinationUrlError("is a private or special address (see PRIVATE_DESTINATIONS)")


def _within(address: Address, networks: Collection[Network] | Sequence[Network]) -> bool:
    return any(address.version == n.version and address in n for n in networks)
