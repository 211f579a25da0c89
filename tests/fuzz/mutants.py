"""Requests made from the interface's own description, and what a hostile caller makes of them."""

import json
import random  # noqa: TID251  a seed, so that a run can be repeated
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast
from urllib.parse import quote
from uuid import UUID

from tests.fuzz.words import HOSTILE, NAMES, VALUES
from tests.fuzz.world import Asked, Headers

Document = Mapping[str, Any]
METHODS = (
    "GET",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "HEAD",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "get",
    "X",
)
PATHS = (
    *(b"/static/../run.py", b"/static/%2e%2e/run.py", b"/static/..%2f..%2fetc%2fpasswd"),
    *(b"/static/%252e%252e/run.py", b"/static//etc/passwd", b"/static/%00", b"/static/js/%ff.js"),
    *(b"/static/css/..\\..\\run.py", b"/static/" + b"a" * 5_000, b"//", b"/%2f", b"/;/", b"/."),
    *(b"/webhook/in/", b"/webhook/in//", b"/webhook/in/..", b"/webhook/in/%ff", b"/webhook/in2"),
    *(b"/webhook/in/" + b"x" * 9_000, b"/WEBHOOK/IN", b"/admin/", b"/admin/%2e%2e/api", b"*", b""),
    *(b"/api/signals/%00", b"/api/../admin", b"/openapi.json?x=" + b"%25" * 900, b"/metrics/x"),
)
HEADERS: tuple[tuple[bytes, bytes], ...] = (
    *((b"content-type", kind) for kind in (b"text/plain", b"application/xml", b"\xff", b"")),
    (b"content-type", b"application/json; charset=utf-16"),
    (b"content-type", b"multipart/form-data; boundary=" + b"-" * 300),
    (b"content-type", b"application/x-www-form-urlencoded"),
    (b"content-length", b"-1"),
    (b"content-length", b"9" * 30),
    (b"content-encoding", b"gzip"),
    (b"transfer-encoding", b"chunked"),
    (b"host", b"evil.example"),
    (b"host", b""),
    (b"origin", b"https://evil.example"),
    (b"origin", b"null"),
    (b"sec-fetch-site", b"cross-site"),
    (b"x-forwarded-for", b"1.2.3.4, \xff"),
    (b"cookie", b"session=" + b"s" * 4_000),
    (b"cookie", b"session=\xff\x00; __Host-session=a; ;;=;"),
    (b"cookie", b'session="\\"'),
    (b"authorization", b"Bearer"),
    (b"authorization", b"Bearer \xff\xfe"),
    (b"authorization", b"Basic YTpi"),
    (b"authorization", b"bearer  " + b"x" * 9_000),
    (b"idempotency-key", b"\xff" * 300),
    (b"idempotency-key", b"a" * 9_000),
    (b"if-none-match", b"*"),
    (b"if-modified-since", b"yesterday"),
    (b"range", b"bytes=0-0,1-1,2-2,-1"),
    (b"range", b"bytes=999999999999999999999-"),
    (b"accept", b"text/html"),
    (b"accept", b"\x00"),
    (b"accept-encoding", b"gzip;q=x"),
    (b"relay-hop", b"\xb2"),
    (b"expect", b"100-continue"),
    (b"user-agent", b"\x1b[2J\r\n"),
)


def _times() -> tuple[object, ...]:
    return (
        "2026-03-17T17:30:00Z",
        "2026-13-41T99:00:00Z",
        "0001-01-01T00:00:00+14:00",
        1e18,
        "now",
    )


class Maker:
    """Draws requests. ``ids`` are those of rows that exist: what names nothing is soon refused."""

    def __init__(self, document: Document, ids: Sequence[str], seed: int) -> None:
        self._document = document
        self.ids = ids
        self.chance = random.Random(seed)
        self.operations = [
            (path, method, cast("Document", operation))
            for path, operations in document["paths"].items()
            for method, operation in operations.items()
        ]

    def asked(self, credentials: Mapping[str, Headers]) -> Asked:
        """One request: half of them as they should be, but for their values."""
        path, method, operation = self.chance.choice(self.operations)
        who = self._who(credentials)
        if path.startswith("/admin") and self.chance.random() < 0.8:
            who = "session"
        headers, body = self._body(operation)
        made = Asked(
            method.upper(),
            self._target(path, operation),
            [*credentials[who], *headers],
            body,
            f"{method.upper()} {path}",
            "127.0.0.1" if who not in {"forged", "nobody"} else self._address(),
        )
        while self.chance.random() < 0.5:
            made = self.chance.choice(MUTATIONS)(made, self.chance)
        return made

    def _who(self, credentials: Mapping[str, Headers]) -> str:
        if self.chance.random() < 0.7:
            return self.chance.choice(("admin", "session"))
        return self.chance.choice(list(credentials))

    def _address(self) -> str:
        return ".".join(str(self.chance.randrange(1, 255)) for _ in range(4))

    def _target(self, path: str, operation: Document) -> bytes:
        query: list[str] = []
        for parameter in operation.get("parameters", ()):
            value = self.value(parameter.get("schema", {}), str(parameter["name"]))
            text = quote(_text(value), safe="", errors="replace")
            if parameter["in"] == "path":
                path = path.replace(f"{{{parameter['name']}}}", text[:2_000] or "x")
            elif parameter["in"] == "query" and self.chance.random() < 0.4:
                query.append(f"{parameter['name']}={text[:2_000]}")
        return f"{path}{'?' if query else ''}{'&'.join(query)}".encode()

    def _body(self, operation: Document) -> tuple[Headers, bytes]:
        content = operation.get("requestBody", {}).get("content", {})
        if not content:
            return (), b""
        kind = self.chance.choice(list(content))
        value = self.value(content[kind].get("schema", {}))
        if "urlencoded" in kind and isinstance(value, dict):
            pairs = cast("dict[str, Any]", value).items()
            text = "&".join(f"{_quoted(n)}={_quoted(_text(v))}" for n, v in pairs)
        else:
            text = json.dumps(value)
        return [(b"content-type", kind.encode())], text.encode("utf-8", "replace")

    def value(self, schema: Document, name: str = "", depth: int = 0) -> Any:
        """Something that a schema allows; now and then something that it does not."""
        if self.chance.random() < 0.07 or depth > 6:
            return self.chance.choice(VALUES)
        if "$ref" in schema:
            found = self._document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
            return self.value(found, name, depth + 1)
        for choice in ("anyOf", "oneOf"):
            if choice in schema:
                return self.value(self.chance.choice(schema[choice]), name, depth + 1)
        if "enum" in schema or "const" in schema:
            return self.chance.choice(schema.get("enum") or [schema["const"]])
        return self._of_type(schema, name, depth)

    def _of_type(self, schema: Document, name: str, depth: int) -> Any:
        match schema.get("type"):
            case "object":
                return self._object(schema, depth)
            case "array":
                items, count = schema.get("items", {}), self.chance.choice((0, 1, 2, 5))
                return [self.value(items, name, depth + 1) for _ in range(count)]
            case "integer" | "number":
                low, high = schema.get("minimum", 0), schema.get("maximum", 1_000)
                return self.chance.choice(
                    (low, high, 1, 7, low - 1, high + 1, 2**31, 2**63, -1, 0.5)
                )
            case "boolean":
                return self.chance.choice((True, False))
            case "null":
                return None
            case _:
                return self._string(schema, name)

    def _object(self, schema: Document, depth: int) -> dict[str, Any]:
        properties, needed = schema.get("properties", {}), set(schema.get("required", ()))
        fields = {
            name: self.value(inner, name, depth + 1)
            for name, inner in properties.items()
            if name in needed or self.chance.random() < 0.5
        }
        if not properties or self.chance.random() < 0.05:
            fields |= {self.chance.choice(NAMES): self.chance.choice(VALUES) for _ in range(3)}
            fields |= {"ticker": self._ticker(), "action": "buy"} if not properties else {}
        return fields

    def _string(self, schema: Document, name: str) -> Any:
        if schema.get("format") == "uuid" or "id" in name.split("_"):
            return self.chance.choice((*self.ids, str(UUID(int=self.chance.getrandbits(128)))))
        if "time" in str(schema.get("format", "")) or name in {"since", "until", "at", "from"}:
            return self.chance.choice(_times())
        if "ticker" in name or "symbol" in name:
            return self._ticker()
        if "url" in name:
            return self.chance.choice(URLS)
        return self.chance.choice(("a", "main", "webhook", "Test", "yes", *map(str, VALUES)))

    def _ticker(self) -> str:
        return self.chance.choice(("AAPL", "BRK.B", "NYSE:A", "ZZZ"))


URLS = (
    *("https://destination.example/x", "http://127.0.0.1/", "https://user:pw@h.example/", "x"),
    *("https://finviz.com/screener.ashx?v=111&f=cap_large", "file:///etc/passwd", "https://["),
    *(
        "https://\u212a.example/",
        "//h",
        "https://h.example:99999/",
        "https://a\x00b/",
        "gopher://a",
    ),
)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _quoted(text: str) -> str:
    return quote(text, safe="", errors="replace")


# ── Mutations ───────────────────────────────────────────────────────────────────────────────


def other_method(asked: Asked, chance: random.Random) -> Asked:
    return replace(asked, method=chance.choice(METHODS))


def other_path(asked: Asked, chance: random.Random) -> Asked:
    return replace(asked, target=chance.choice(PATHS), operation="a hostile path")


def path_piece(asked: Asked, chance: random.Random) -> Asked:
    """A hostile piece in the path or query, as it is encoded once, twice, or hardly."""
    piece = chance.choice(HOSTILE)[:600]
    once = quote(piece, safe="").encode()
    piece = chance.choice((once, quote(once, safe="").encode(), b"%", b"..%2f", b"/", b"?", b"#x"))
    place = chance.randrange(1, len(asked.target) + 1) if asked.target else 0
    return replace(asked, target=asked.target[:place] + piece + asked.target[place:])


def more_query(asked: Asked, chance: random.Random) -> Asked:
    value = quote(str(chance.choice(VALUES)), safe="", errors="replace")[:2_000]
    name = chance.choice(("limit", "cursor", "before", "after", "q", "ticker", "format", "since"))
    sign = b"&" if b"?" in asked.target else b"?"
    return replace(asked, target=asked.target + sign + f"{name}={value}".encode())


def more_headers(asked: Asked, chance: random.Random) -> Asked:
    given = chance.choice(HEADERS)
    others = [one for one in asked.headers if one[0] != given[0] or chance.random() < 0.3]
    return replace(asked, headers=[*others, given])


def other_bytes(asked: Asked, chance: random.Random) -> Asked:
    body = bytearray(asked.body or b"{}")
    for _ in range(chance.choice((1, 2, 8))):
        place = chance.randrange(len(body) + 1)
        body[place : place + chance.choice((0, 0, 1, 4))] = chance.choice(HOSTILE)
    return replace(asked, body=bytes(body))


def other_body(asked: Asked, chance: random.Random) -> Asked:
    return replace(
        asked, body=chance.choice((b"", b"null", b"[]", b"0", b"\xff", b"[" * 3_000, b"{"))
    )


def huge_body(asked: Asked, chance: random.Random) -> Asked:
    return replace(asked, body=asked.body + b" " * chance.choice((65_536, 65_537, 200_000)))


MUTATIONS: tuple[Callable[[Asked, random.Random], Asked], ...] = (
    *(other_method, other_path, path_piece, path_piece, more_query, more_query),
    *(more_headers, more_headers, more_headers, other_bytes, other_bytes, other_body, huge_body),
)
