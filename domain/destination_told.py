"""A destination as it may be told to anybody: what is secret of it is masked."""

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from domain.address import shown
from domain.body import MASK, masked
from domain.channel import masked as masked_in
from domain.destination import Destination
from domain.rate import format_windows

SHORTEST = 6
"""What is shorter and comes back in an answer is a word."""

_LICENCE = re.compile(r"licen[cs]e", re.IGNORECASE)
_RANDOM = re.compile(r"(?=.*\d)(?=.*[A-Za-z])[^\s:]{16,}|\d{10,}", re.ASCII)


def told(one: Destination) -> dict[str, Any]:
    """All but its keys; of its address the host, of its headers the names."""
    return {
        "name": one.name,
        "url": shown(one.url),
        "mode": one.mode,
        "guarantee": one.guarantee,
        "windows": format_windows(one.windows),
        "concurrency": one.concurrency,
        "timeout": one.timeout.total_seconds(),
        "connect_timeout": one.connect_timeout.total_seconds(),
        "headers": sorted(one.headers),
        "mapping": {
            "preset": one.mapping.preset,
            "rename": dict(one.mapping.rename),
            "add": constants(one.mapping.add),
        },
    }


def constants(add: Mapping[str, object]) -> dict[str, object]:
    """The constants of a mapping; masked where the name is that of a secret."""
    return {name: MASK if _may_be_secret(name, value) else value for name, value in add.items()}


def hidden(text: str, one: Destination) -> str:
    """What it answered, for keeping: secrets masked by their names, ours by what they are.

    Whoever answers may repeat what he was asked.
    """
    parts, added = urlsplit(one.url), one.mapping.add
    constant = [str(value) for name, value in added.items() if _may_be_secret(name, value)]
    whole = {one.url, parts.path, parts.query, *one.headers.values(), *constant}
    ours = {secret for secret in whole if len(secret) >= SHORTEST}
    ours |= {json.dumps(secret)[1:-1].replace("/", "\\/") for secret in ours}
    for secret in ours:  # an answer is cut, and perhaps in the middle of one
        ends = (secret[:length] for length in range(len(secret) - 1, SHORTEST - 1, -1))
        if end := next((end for end in ends if text.endswith(end)), None):
            text = text.removesuffix(end) + MASK
    return masked(masked_in(text, ours).encode())


def _may_be_secret(name: str, value: object) -> bool:
    """By its name, or because it looks like one: long, with digits, and no blank."""
    plain = json.dumps({name: value})
    return (
        masked(plain.encode()) != plain
        or _LICENCE.search(name) is not None
        or (isinstance(value, str) and _RANDOM.fullmatch(value) is not None)
    )
