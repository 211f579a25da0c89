"""The bytes of an alert: our token cut out, secrets masked for pages, our members added."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast
from urllib.parse import unquote_plus

from domain.parsed import JSON_BLANKS, Invalid, Number, Parsed, canonical

MASK = "•••"

_BOM = b"\xef\xbb\xbf"
_TOKEN_NAMES = ("token", "secret")
_MAY_HOLD_TOKEN = (b"token", b"secret", b"\\u", b"%")
_BLANKS = re.compile(r"[ \t\r\n]*")

_SECRET_NAME = re.compile(
    r"auth|pass|pin|pwd|bearer|cookie|jwt|pointer"
    r"|.*(?:key|secret|token|password|passwd|passphrase|passcode|authorization|credentials?)",
    re.DOTALL,
)
_DOUBLE, _SINGLE = "\u201c\u201d", "\u2018\u2019"
_QUOTES = "\"'`" + _DOUBLE + _SINGLE
_NAME = re.compile(
    r"(?<![\w%.-])"
    r"((?:[\w%.-]|\\{1,8}u[0-9a-fA-F]{4}){1,128}+(?: [\w%.-]{1,64}+){0,2}+)"
    rf"[\\{_QUOTES}]*+\s*+([=:])>?\s*+"
)
_ESCAPE = re.compile(r"\\+u([0-9a-fA-F]{4})")
_OPENING = re.compile(rf"(\\*+)([{_QUOTES}])")
_MOST_SLASHES = 63
_STRING_REST = re.compile(r"(?:[^\"\\]|\\.)*+", re.DOTALL)
_SCHEME = r"(?:(?:Bearer|Basic|Token)\s++)?+"
_BARE = {
    "=": re.compile(_SCHEME + r"[^\s&;\"\\]*+", re.IGNORECASE),
    ":": re.compile(_SCHEME + r"[^\s&;,}\]\"\\]*+", re.IGNORECASE),
}
_SECRET_HINTS = (
    *("key", "secret", "token", "pass", "auth", "pin", "pwd", "credential", "bearer", "cookie"),
    *("jwt", "pointer", "\\u", "%"),
)
_HARMLESS = frozenset({"", "null", "true", "false"})


@dataclass(frozen=True, slots=True)
class Member:
    """One member of an object: its name, its value, and where its text begins and ends.

    ``value_at`` is where the text of its value begins.
    """

    name: str
    value: object
    start: int
    value_at: int
    end: int


def cut_token(body: bytes, is_ours: Callable[[str], bool]) -> tuple[bytes, bool]:
    """Return the body without our own ingress token, and whether it held it.

    Cut is every top-level member (or form field) named exactly ``token`` or ``secret`` whose value
    is ours, together with one comma (or ``&``) and the blanks between. Every other byte stays as it
    was, and what was JSON is JSON still. A body that is neither a JSON object nor a form stays.
    """
    for hint in _MAY_HOLD_TOKEN:
        if hint in body:
            return _cut_token(body, is_ours)
    return body, False


def _cut_token(body: bytes, is_ours: Callable[[str], bool]) -> tuple[bytes, bool]:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return body, False
    rest = text if members_of(text) is not None else _cut_form(text, is_ours)
    if (members := members_of(rest)) is not None:  # also what a field of a form was followed by
        rest = _cut_members(rest, members, is_ours)
    return (rest.encode(), True) if rest != text else (body, False)


def _cut_form(text: str, is_ours: Callable[[str], bool]) -> str:
    """Blanks are of a name or a value, but not where the form begins and ends, as ``parse`` does.

    So whoever comes to the beginning or the end by a cut is looked at again.
    """
    at = _blanks(text, 1 if text.startswith("\ufeff") else 0)
    end = max(at, len(text.rstrip(JSON_BLANKS)))
    kept = [field for field in text[at:end].split("&") if not _is_token(field, is_ours)]
    first, behind = 0, len(kept)
    while first < behind and _is_token(kept[first].strip("\ufeff" + JSON_BLANKS), is_ours):
        first += 1
    while first < behind and _is_token(kept[behind - 1].rstrip(JSON_BLANKS), is_ours):
        behind -= 1
    return f"{text[:at]}{'&'.join(kept[first:behind])}{text[end:]}"


def _is_token(field: str, is_ours: Callable[[str], bool]) -> bool:
    name, _, value = field.partition("=")
    known = unquote_plus(name) if "%" in name else name
    return known in _TOKEN_NAMES and is_ours(unquote_plus(value))


def _cut_members(text: str, members: list[Member], is_ours: Callable[[str], bool]) -> str:
    ours = [
        member.name in _TOKEN_NAMES and isinstance(member.value, str) and is_ours(member.value)
        for member in members
    ]
    return _without(text, members, ours) if any(ours) else text


def _without(text: str, members: list[Member], cut: list[bool]) -> str:
    """Cut members. Each takes the separator before it along; those at the front the one behind."""
    first_kept = cut.index(False) if False in cut else len(cut)
    end = members[first_kept].start if first_kept < len(cut) else members[-1].end
    kept = [text[: members[0].start]] if first_kept else []
    position = end if first_kept else 0
    for before, member, is_cut in zip(members, members[1:], cut[1:], strict=False):
        if is_cut and member.start >= position:
            kept.append(text[position : before.end])
            position = member.end
    return "".join([*kept, text[position:]])


def members_of(text: str) -> list[Member] | None:
    """The members of the object that this text is, None when it is none. No limits apply here."""
    at = _blanks(text, 1 if text.startswith("\ufeff") else 0)
    if text[at : at + 1] != "{":
        return None
    try:
        members, at = _scan(text, _blanks(text, at + 1))
    except (ValueError, IndexError, RecursionError):
        return None
    return members if _blanks(text, at) == len(text) else None


def _scan(text: str, at: int) -> tuple[list[Member], int]:
    """Scan from the first member on; return the members and the place behind the closing brace."""
    members: list[Member] = []
    while text[at] != "}" or members:
        start = at
        _expect(text, at, '"')
        name, at = _decode(text, at)
        at = _blanks(text, at)
        _expect(text, at, ":")
        value_at = _blanks(text, at + 1)
        value, at = _decode(text, value_at)
        members.append(Member(str(name), value, start, value_at, at))
        at = _blanks(text, at)
        if text[at] == "}":
            break
        _expect(text, at, ",")
        at = _blanks(text, at + 1)
    return members, at + 1


def _decode(text: str, at: int) -> tuple[object, int]:
    return cast("tuple[object, int]", _READER.raw_decode(text, at))


def _constant(_: str) -> object:
    raise ValueError("NaN and Infinity are no JSON")


_READER = json.JSONDecoder(parse_int=Number, parse_float=Number, parse_constant=_constant)


def _expect(text: str, at: int, character: str) -> None:
    if text[at] != character:
        raise ValueError("not an object in JSON")


def _blanks(text: str, at: int) -> int:
    blanks = _BLANKS.match(text, at)
    return blanks.end() if blanks else at


def outgoing(
    body: bytes, *, signal_id: str, received_at: str, replay_of: str | None = None
) -> bytes:
    """Return what a destination gets: an object with our two members added, anything else as it is.

    The object keeps its own bytes; ``signal_id`` and ``received_at`` are written before its last
    brace, each only when the object has no member of that name; so is ``replay_of`` where this
    repeats another signal at an operator's word. A byte order mark before an object
    is left out, as RFC 8259 (section 8.1) asks of senders. Same input, same bytes.
    """
    try:
        text = body.removeprefix(_BOM).decode()
    except UnicodeDecodeError:
        return body
    members = members_of(text)
    if members is None:
        return body
    names = {member.name for member in members}
    ours = {"signal_id": signal_id, "received_at": received_at}
    ours |= {"replay_of": replay_of} if replay_of else {}
    added = {name: value for name, value in ours.items() if name not in names}
    brace = text.rindex("}")
    if not added:
        return text.encode()
    comma = "," if members else ""
    return f"{text[:brace]}{comma}{json.dumps(added)[1:-1]}{text[brace:]}".encode()


def has_secrets(parsed: Parsed | Invalid) -> bool:
    """Whether a body holds a value under the name of a secret, at any depth and in any text form.

    What could not be read may hold anything: True.
    """
    if isinstance(parsed, Invalid):
        return True
    return hints_at_secrets(parsed.text) and next(_secrets(parsed.text), None) is not None


def hints_at_secrets(text: str) -> bool:
    """Whether any part of a secret's name stands in it. Only then may there be one, or a token."""
    lower = text.lower()
    for hint in _SECRET_HINTS:  # noqa: SIM110  a generator costs the hot path as much again
        if hint in lower:
            return True
    return False


def masked(body: bytes, limit: int = 4096) -> str:
    """Return the first ``limit`` characters of a body for a page, with secret values as •••.

    It knows secrets by their names, in JSON, in JSON inside strings, in forms and in broken text,
    and would rather mask too much: a value whose end is not found is masked to the end.
    """
    text = body[: 4 * limit].decode("utf-8", "replace")[:limit]
    pieces: list[str] = []
    position = 0
    for start, end in _secrets(text):
        pieces += [text[position:start], MASK]
        position = end
    return "".join([*pieces, text[position:]])


def _secrets(text: str) -> Iterator[tuple[int, int]]:
    """Where the values of secrets are."""
    position = 0
    while name := _NAME.search(text, position):
        position = name.end()
        if not _is_secret(name[1]):
            continue
        start, end = _value(text, position, name[2])
        position = max(position, end)
        if text[start:end].strip().lower() not in _HARMLESS:
            yield start, end


def _is_secret(name: str) -> bool:
    if "\\" in name:
        name = _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), name)
    if "%" in name or "+" in name:
        name = unquote_plus(name)
    return _SECRET_NAME.fullmatch(canonical(name)) is not None


def _value(text: str, at: int, sign: str) -> tuple[int, int]:
    """Where the value that begins here stands: inside its quotes, a whole container, or a word."""
    if opening := _OPENING.match(text, at):
        return opening.end(), _closing(text, opening.end(), opening[1], opening[2])
    if text[at : at + 1] in ("{", "["):
        try:
            _, end = _decode(text, at)
        except (ValueError, RecursionError):
            end = len(text)
        return at, end
    bare = _BARE[sign].match(text, at)
    return at, bare.end() if bare else at


def _closing(text: str, at: int, slashes: str, quote: str) -> int:
    """Where the closing quote is, with as many backslashes before it as the opening one had."""
    if quote == '"' and not slashes:
        rest = _STRING_REST.match(text, at)
        return rest.end() if rest else len(text)
    if len(slashes) > _MOST_SLASHES:
        return len(text)
    closers = next((pair for pair in (_DOUBLE, _SINGLE) if quote in pair), quote)
    closing = re.compile(rf"(?<!\\){re.escape(slashes)}[{closers}]").search(text, at)
    return closing.start() if closing else len(text)
