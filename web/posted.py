"""What is posted, whose it is, and what is journaled of it: decided without waiting for anybody."""

import hashlib
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import NamedTuple

from starlette.requests import HTTPConnection
from starlette.types import Scope

from database.journal import Entry, signal_id
from domain.access import Scope as Permission
from domain.alert import Alert, Invalid, InvalidCode, Parsed, interpret
from domain.body import cut_token, has_secrets, hints_at_secrets
from domain.signal import Side, uuid7_bytes
from domain.source import Source
from domain.trace import read_traceparent
from web.dependencies import State, is_foreign, is_rebound, origin_in

PATH = "/webhook/in"
MOST_HOPS = 1
LONG_WINDOW = timedelta(hours=24)
TOO_FAR_AHEAD = timedelta(minutes=5)
NO_ALERT = (None, None, None, None, None, False, None, None, None, None)
"""What is journaled of an alert where there is none."""
CONTENT_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(?:; ?charset=[\w-]+)?", re.ASCII)


class Refusal(Exception):  # noqa: N818  it refuses, it does not fail
    """An answer other than a receipt."""

    def __init__(self, status: int, code: str, detail: str, **more: str) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.more = status, code, detail, more


class NotAdmittedError(Refusal):
    """A wrong token, or none; or a right one from where its ``source`` does not post.

    All of them are answered alike. ``guessed``: one was shown.
    """

    def __init__(self, *, guessed: bool, source: str | None = None) -> None:
        super().__init__(401, "unauthorized", "a token for alerts is needed")
        self.guessed, self.source = guessed, source


class Posted(NamedTuple):
    """A request as it came: what was posted, and what stood around it."""

    body: bytes
    content_type: str
    token: str | None
    idempotency_key: str | None
    hop: int = 0
    origin: str = ""
    foreign: bool = False
    traceparent: str | None = None

    def __repr__(self) -> str:
        """A body may hold a secret, and the token is one."""
        return f"Posted(origin={self.origin!r})"


def posted(scope: Scope, headers: Mapping[bytes, bytes], body: bytes) -> Posted:
    """What a request posts. Raises Refusal where it has been round in circles."""
    named = headers.get(b"idempotency-key")
    return Posted(
        body,
        headers.get(b"content-type", b"").decode("latin-1"),
        scope["path"][len(PATH) + 1 :] or _bearer(headers.get(b"authorization", b"")),
        None if named is None else named.decode("latin-1"),
        _hop(headers[b"relay-hop"]) if b"relay-hop" in headers else 0,
        origin_in(scope),
        _is_foreign(scope, headers),
        _traceparent(headers[b"traceparent"]) if b"traceparent" in headers else None,
    )


def _bearer(given: bytes) -> str | None:
    scheme, _, token = given.decode("latin-1").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _traceparent(given: bytes) -> str | None:
    """What names no trace is passed over: an alert is not refused for its decoration."""
    return read_traceparent(given.decode("latin-1"))


def _is_foreign(scope: Scope, headers: Mapping[bytes, bytes]) -> bool:
    """Whether a browser sends this for another site's page, or for one under a name not our own.

    Programs say nothing of pages.
    """
    if not (b"origin" in headers or b"sec-fetch-site" in headers):
        return False
    connection = HTTPConnection(scope)
    return is_foreign(connection) or is_rebound(connection)


def _hop(given: bytes) -> int:
    """How many relays forwarded this before us. More than one goes round in circles."""
    hop = int(given) if given.isdigit() and len(given) < 4 else 0
    if hop > MOST_HOPS:
        raise Refusal(422, "loop", "this alert was forwarded by a relay more than once")
    return hop


def taken(
    state: State, source: Source, posted: Posted, parsed: Parsed | Invalid
) -> tuple[Alert | Invalid, Entry]:
    """How an alert of this source is read, and what is journaled of it."""
    reading = read(state, source, parsed)
    return reading, entry_of(state, source, posted, parsed, reading)


def read(state: State, source: Source, parsed: Parsed | Invalid) -> Alert | Invalid:
    """What the body of an alert of this source says."""
    reading = parsed if isinstance(parsed, Invalid) else interpret(parsed, source.time_field)
    return _in_time(state, reading) if isinstance(reading, Alert) else reading


def source_of(state: State, posted: Posted, parsed: Parsed | Invalid) -> Source:
    """Whose alert it is, by path, Bearer, or a top-level body field; all wrong ones look the same.

    Who needs no token, and any token but a source's own, posts as the source of the settings.
    A page of another site always needs one: it may be open on the very machine that needs none.
    """
    given = _body_tokens(parsed) if posted.token is None else [posted.token]
    grant = None
    for token in given:
        grant = grant or state["keyring"].grant(token, Permission.INGEST)
    if grant is None and (posted.foreign or not state["rules"].open_ingress):
        raise NotAdmittedError(guessed=bool(given))
    source = state["keyring"].source(grant and grant.source)
    if not source.posts_from(posted.origin):
        raise NotAdmittedError(guessed=True, source=source.name)
    return source


def _body_tokens(parsed: Parsed | Invalid) -> list[str]:
    fields = {} if isinstance(parsed, Invalid) else parsed.fields or {}
    values = (fields.get("token"), fields.get("secret"))
    return [value for value in values if isinstance(value, str)]


def _in_time(state: State, alert: Alert) -> Alert | Invalid:
    """A buy sent in the far future is not believed; a sell is, its send time is ignored."""
    if (
        alert.side is Side.BUY
        and alert.sent_at
        and alert.sent_at - state["clock"]() > TOO_FAR_AHEAD
    ):
        return Invalid.because(InvalidCode.TIME_IN_FUTURE)
    return alert


def check_backlog(state: State, entry: Entry) -> None:
    """Raise Refusal where too many wait already; a sell is let in for longer than a buy."""
    most = state["rules"].queue_max * (1.2 if entry.side is Side.SELL else 1)
    if state["backlog"]() >= most:
        raise Refusal(503, "backlog_full", "too many signals are waiting: send it again later")


def entry_of(
    state: State, source: Source, posted: Posted, parsed: Parsed | Invalid, reading: Alert | Invalid
) -> Entry:
    """What is journaled of an alert."""
    body, has_secret = _without_token(state, posted.body, parsed)
    alert = reading if isinstance(reading, Alert) else None
    sealed = alert is None or has_secret
    id = signal_id(uuid7_bytes(state["clock"](), state["chance"](10)))
    window = _window(state, source, posted, alert)
    return Entry(  # by place: so many names cost the hot path twice as much as all they name
        id,
        source.name,
        _key(source, posted.idempotency_key if alert else None, body if window else id.bytes),
        window,
        _lifetime(state, source, alert.side) if alert else timedelta(0),
        _content_type(posted, parsed),
        state["vault"].seal(body) if sealed else body,
        sealed,
        reading.code if isinstance(reading, Invalid) else None,
        *(alert[:-1] if alert else NO_ALERT),
        posted.hop,
        posted.traceparent,
    )


def _without_token(state: State, body: bytes, parsed: Parsed | Invalid) -> tuple[bytes, bool]:
    """A body without our own token, and whether it may hold somebody's secret."""
    if isinstance(parsed, Invalid):
        return body, True
    if not hints_at_secrets(parsed.text):
        return body, False
    return cut_token(body, state["keyring"].is_own)[0], has_secrets(parsed)


def _key(source: Source, named: str | None, body: bytes) -> bytes:
    """What makes two alerts of a source the same: its Idempotency-Key, else the very same bytes.

    A key names an alert. What is none goes by its bytes, lest it swallow the mended alert that
    its sender posts next under the same key. Where no time makes the same bytes the same alert,
    they are replaced by its id: nothing folds into it, not even what comes at the same instant.
    """
    basis = b"key\0" + named.encode("latin-1") if named else b"body\0" + body
    return hashlib.sha256(source.name.encode() + b"\0" + basis).digest()


def _window(state: State, source: Source, posted: Posted, alert: Alert | None) -> timedelta:
    """For how long a repeat is one."""
    if _is_named(posted, alert):
        return LONG_WINDOW
    return state["rules"].dedupe_window if source.dedupe is None else source.dedupe


def _lifetime(state: State, source: Source, side: Side) -> timedelta:
    return source.lifetime(side) or state["rules"].lifetimes[side]


def _is_named(posted: Posted, alert: Alert | None) -> bool:
    """Whether the same bytes mean the same alert for a day, not just for a moment.

    So they do with the sender's key or send time. An id in the body does for a buy only: templates
    hold fixed ids, and a sell folded for a day would be a sell lost.
    """
    if posted.idempotency_key or alert is None:
        return posted.idempotency_key is not None
    return alert.sent_at is not None or (alert.alert_id is not None and alert.side is Side.BUY)


def _content_type(posted: Posted, parsed: Parsed | Invalid) -> str:
    """What the destination is told: JSON is called so whatever its sender called it."""
    if isinstance(parsed, Parsed) and parsed.text.startswith("{"):
        return "application/json"
    given = posted.content_type
    return given if CONTENT_TYPE.fullmatch(given) else "application/octet-stream"
