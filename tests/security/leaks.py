"""Where a secret turned up that must not: looked for in every spelling it may have."""

import base64
import json
from collections.abc import Iterator, Mapping
from urllib.parse import quote

TABLES = """
    SELECT relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname = 'public' AND relkind IN ('r', 'p') ORDER BY relname
"""


def spellings(secret: str) -> set[bytes]:
    """As it is, in addresses, in JSON, in hexadecimal (bytea in a dump), in base64 anywhere."""
    raw = secret.encode()
    plain = {secret, quote(secret, safe=""), quote(secret), json.dumps(secret)[1:-1]}
    plain |= {one.replace("/", "\\/") for one in plain} | {json.dumps(one)[1:-1] for one in plain}
    encoded = {raw.hex(), raw.hex().upper(), *(_anywhere(raw, offset) for offset in range(3))}
    return {one.encode() for one in plain | encoded}


def _anywhere(raw: bytes, offset: int) -> str:
    """Its base64 after so many other bytes, without the characters that others share."""
    text = base64.b64encode(b"\0" * offset + raw).decode().rstrip("=")
    begin = {0: 0, 1: 2, 2: 3}[offset]
    return text[begin : len(text) - (1 if (offset + len(raw)) % 3 else 0)]


class Canaries:
    """Secrets by name. ``checked`` counts what was looked through."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        assert all(len(secret) >= 8 for secret in secrets.values()), "too short to mean anything"
        self.secrets = dict(secrets)
        self.checked = 0
        self._spellings = {name: spellings(secret) for name, secret in secrets.items()}

    def add(self, name: str, secret: str) -> None:
        self.secrets[name] = secret
        self._spellings[name] = spellings(secret)

    def found(self, place: str, text: bytes | str) -> Iterator[str]:
        """A line for each secret in this text, which repeats none."""
        content = text.encode(errors="surrogatepass") if isinstance(text, str) else text
        self.checked += 1
        for name, spelled in self._spellings.items():
            if any(one in content for one in spelled):
                yield f"{name} is in {place}"
