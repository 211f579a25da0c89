"""The redactor: knows the secrets of settings and database, and the shapes of others."""

import base64
import json
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from urllib.parse import quote, unquote, urlsplit

HIDDEN = "•••"
SHORTEST = 6
"""What is shorter is no secret, and hiding it would hide words."""
MOST = 2_000
"""Secrets of the database that are known at once; beyond, the oldest half is forgotten."""

SHAPES = re.compile(
    r"""([?&](?:auth|token|key)=|/webhook/in/|api\.telegram\.org/bot|\bBearer\s+)[^&\s"'\\?]+"""
    r"|()\b(?:tsp_[A-Za-z0-9_-]{16,}|whsec_[A-Za-z0-9+/=_-]{16,})",
    re.IGNORECASE,
)
"""Where tokens stand, and what ours and signing keys look like."""

_RANDOM = re.compile(r"(?=.*\d).{8,}|.{16,}", re.DOTALL)
"""A part of an address that is no word."""


class Redactor:
    """Replaces known secrets, in every spelling a line may give them, and tokens in addresses.

    Where a secret may begin is looked up by its first characters: a line costs the same however
    many are known.
    """

    def __init__(self, secrets: Collection[str]) -> None:
        self._settings = {secret.encode(errors="surrogatepass") for secret in secrets}
        self._told: dict[bytes, None] = {}
        self._starts: dict[str, list[str]] = {}
        for secret in self._settings:
            self._learn(secret)

    def add(self, secret: bytes) -> None:
        """Know this one too."""
        if secret in self._told or secret in self._settings:
            return
        self._told[secret] = None
        if len(self._told) > MOST:
            self._told = dict.fromkeys(list(self._told)[MOST // 2 :])
            self._starts = {}
            for one in (*self._settings, *self._told):
                self._learn(one)
        else:
            self._learn(secret)

    def __call__(self, text: str) -> str:
        return SHAPES.sub(rf"\1{HIDDEN}", self._hidden(text))

    def _learn(self, secret: bytes) -> None:
        for spelling in _spellings(secret):
            known = self._starts.get(spelling[:SHORTEST], [])
            longest_first = sorted({*known, spelling}, key=len, reverse=True)
            self._starts[spelling[:SHORTEST]] = longest_first

    def _hidden(self, text: str) -> str:
        kept: list[str] = []
        at = begin = 0
        while begin <= len(text) - SHORTEST:
            known = self._starts.get(text[begin : begin + SHORTEST], ())
            found = next((one for one in known if text.startswith(one, begin)), None)
            if found is None:
                begin += 1
            else:
                kept += [text[at:begin], HIDDEN]
                at = begin = begin + len(found)
        return "".join([*kept, text[at:]])


def _spellings(secret: bytes) -> set[str]:
    """The secret and its parts as they are, quoted once or twice, and encoded."""
    encoded = _encoded(secret) if len(secret) >= SHORTEST else set[str]()
    with suppress(UnicodeDecodeError):
        plain = {part for part in _parts(secret.decode()) if len(part) >= SHORTEST}
        once = plain.union(*map(_quoted, plain))
        encoded = encoded.union(*(_encoded(one.encode(errors="surrogatepass")) for one in plain))
        return once.union(*map(_quoted, once), encoded)
    return encoded


def _parts(secret: str) -> Iterator[str]:
    """What is a secret by itself too: of JSON its texts, of an address its password and path."""
    yield secret
    if secret.startswith("{"):
        with suppress(ValueError):
            texts = [value for value in json.loads(secret).values() if isinstance(value, str)]
            for value in filter(_RANDOM.fullmatch, texts):  # the others are words, as "market"
                yield from _parts(value)
    elif "://" in secret:
        with suppress(ValueError):
            yield from _parts_of_address(secret)
    elif " " in secret:  # a header's scheme and what follows
        yield secret.rpartition(" ")[2]


def _parts_of_address(secret: str) -> Iterator[str]:
    parts = urlsplit(secret)
    if parts.password:
        yield from (parts.password, unquote(parts.password))
    if parts.scheme in {"http", "https"}:
        pieces = re.split(r"[/?&=]", f"{parts.path}?{parts.query}")
        random = [piece for piece in pieces if _RANDOM.fullmatch(piece)]
        yield from random
        if random:
            yield from (parts.path, parts.query, f"{parts.path}?{parts.query}")


def _quoted(text: str) -> set[str]:
    with suppress(UnicodeEncodeError):
        return {quote(text, safe=""), quote(text), json.dumps(text)[1:-1], repr(text)[1:-1]}
    return {json.dumps(text)[1:-1], repr(text)[1:-1]}


def _encoded(secret: bytes) -> set[str]:
    standard = base64.b64encode(secret).decode().rstrip("=")
    return {standard, standard.replace("+", "-").replace("/", "_"), secret.hex()}
