"""Which heads are plain: what the next reader might understand otherwise is refused."""

from collections.abc import Sequence
from typing import NamedTuple

import httptools

METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})
MOST_HEAD, MOST_HEADERS = 65_536, 100
UNCLEAR, NO_METHOD, TOO_LARGE = 400, 405, 431


class UnclearError(httptools.HttpParserError):
    """A request that two readers might read in two ways."""


class Head(NamedTuple):
    """As the parser read it. ``may_be_large``: nobody has counted how many bytes it has."""

    method: bytes
    version: str
    url: bytes
    headers: Sequence[tuple[bytes, bytes]]
    may_be_large: bool


def refusal_of(head: Head) -> int | None:
    """The status that a head is refused with; None where it is plain.

    Raises HttpParserError for an address that is none.
    """
    headers = head.headers
    if len(headers) > MOST_HEADERS or (head.may_be_large and _size(headers) > MOST_HEAD):
        return TOO_LARGE
    if head.method not in METHODS:
        return NO_METHOD
    hosts = [value for name, value in headers if name == b"host"]
    if head.version != "1.1" and not _is_plain_old(head):
        return UNCLEAR
    if len(hosts) != 1 and (hosts or head.version != "1.0"):
        return UNCLEAR
    return None if _is_ours(head.url, hosts) else UNCLEAR


def _is_plain_old(head: Head) -> bool:
    return head.version == "1.0" and all(name != b"transfer-encoding" for name, _ in head.headers)


def _is_ours(url: bytes, hosts: Sequence[bytes]) -> bool:
    """What most ask for begins with one slash; else another host may be named."""
    if url[:1] == b"/" and url[1:2] != b"/":
        return True
    named = httptools.parse_url(url).host
    return not named or named.lower() == _name_of(hosts[0] if hosts else None)


def _size(headers: Sequence[tuple[bytes, bytes]]) -> int:
    return sum(len(name) + len(value) for name, value in headers)


def _name_of(host: bytes | None) -> bytes | None:
    """The name in a Host header, without its port."""
    if host is None:
        return None
    head, found, port = host.rpartition(b":")
    name = head if found and port.isdigit() else host
    return name.strip(b"[]").lower()
