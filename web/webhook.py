"""POST /webhook/in: where alerts arrive. Plain ASGI in front of the framework: the hot path."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeAlias, cast

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from database.journal import Entry, Receipt
from database.pool import UnavailableError, acting_from
from domain.access import Scope as Permission
from domain.alert import Alert, Invalid, InvalidCode, Parsed, interpret, parse
from domain.body import cut_token, has_secrets
from domain.signal import Side, SignalId, SignalStatus, uuid7
from domain.source import Source
from domain.trace import read_traceparent
from engines.failpoints import Point
from web.dependencies import State, is_foreign, origin_in, too_many
from web.security import security_headers

PATH = "/webhook/in"
MOST_BYTES = 65_536
MOST_HOPS = 1
LONG_WINDOW = timedelta(hours=24)
TOO_FAR_AHEAD = timedelta(minutes=5)
JSON = (b"content-type", b"application/json")
MORE = {
    405: (b"allow", b"POST"),
    503: (b"retry-after", b"5"),
    401: (b"www-authenticate", b"Bearer"),
}
"""Headers that go with a status."""

Answer: TypeAlias = str | Mapping[str, Any]
"""A receipt, written already, or the words of a refusal."""

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


@dataclass(frozen=True, slots=True)
class Posted:
    """A request as it came: what was posted, and what stood around it."""

    body: bytes = field(repr=False)
    content_type: str
    token: str | None = field(repr=False)
    idempotency_key: str | None = field(repr=False)
    hop: int = 0
    origin: str = ""
    foreign: bool = False
    traceparent: str | None = None


class Webhook:
    """Answers its own paths and hands everything else to ``app``."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _is_ours(scope["path"]):
            await _respond(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _is_ours(path: str) -> bool:
    return path == PATH or path.startswith(PATH + "/")


async def _respond(scope: Scope, receive: Receive, send: Send) -> None:
    state = cast("State", scope["state"])
    stranger: NotAdmittedError | None = None
    answer: Answer
    try:
        posted = await _read(scope, receive)
        state["reach"](Point.WEBHOOK_READ)
        status, answer = await _accept(state, posted)
    except NotAdmittedError as refusal:
        stranger = refusal
        status, answer = _told(_patience(state, scope, refusal))
    except Refusal as refusal:
        status, answer = _told(refusal)
    state["metrics"].answered(status)
    state["reach"](Point.WEBHOOK_BEFORE_ANSWER)
    await _send(scope, send, status, answer)
    if stranger:  # told after the answer: nobody waits for it
        await _tell(state, scope, stranger)


def _told(refusal: Refusal) -> tuple[int, dict[str, Any]]:
    words = {"error": refusal.detail, "code": refusal.code, "detail": refusal.detail}
    return refusal.status, words | refusal.more


def _patience(state: State, scope: Scope, refusal: NotAdmittedError) -> Refusal:
    """After too many wrong tokens of an origin the next is told to wait; a right one never is."""
    acting_from.set(origin_in(scope))
    seconds = state["refusals"].beyond() if refusal.guessed else None
    if not seconds:
        return refusal
    problem = too_many(seconds)
    return Refusal(problem.status, problem.code, problem.detail, **problem.more)


async def _tell(state: State, scope: Scope, refusal: NotAdmittedError) -> None:
    refusals, door = state["refusals"], f"POST {PATH}"
    if refusal.source:
        await refusals.elsewhere(refusal.source, proxied=_is_proxied(scope))
    if refusal.guessed:
        await refusals.wrong(door)
    else:
        await refusals.missing(door)


def _is_proxied(scope: Scope) -> bool:
    """Whether it came through a proxy that we were not told to trust: it names another caller."""
    named = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    hops = b",".join(named).decode("latin-1").split(",")
    return bool(named) and origin_in(scope) not in {hop.strip() for hop in hops}


async def _send(scope: Scope, send: Send, status: int, answer: Answer) -> None:
    body = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
    headers = [JSON, (b"content-length", b"%d" % len(body)), *security_headers(scope)]
    if status in MORE:
        headers.append(MORE[status])
    if not isinstance(answer, str) and (later := answer.get("retry_after")):
        headers.append((b"retry-after", later.encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _read(scope: Scope, receive: Receive) -> Posted:
    if scope["method"] != "POST":
        raise Refusal(405, "method_not_allowed", "alerts are posted")
    headers: dict[bytes, bytes] = dict(scope["headers"])
    if headers.get(b"content-encoding", b"").lower() not in {b"", b"identity"}:
        raise Refusal(415, "content_encoding", "a compressed body is not read")
    if _is_too_long(headers.get(b"content-length", b"0")):
        raise Refusal(413, InvalidCode.TOO_LARGE, f"a body has at most {MOST_BYTES} bytes")
    named = headers.get(b"idempotency-key")
    return Posted(
        body=await _body(receive),
        content_type=headers.get(b"content-type", b"").decode("latin-1"),
        token=scope["path"][len(PATH) + 1 :] or _bearer(headers.get(b"authorization", b"")),
        idempotency_key=None if named is None else named.decode("latin-1"),
        hop=_hop(headers.get(b"relay-hop", b"0")),
        origin=origin_in(scope),
        foreign=_is_foreign(scope, headers),
        traceparent=_traceparent(headers[b"traceparent"]) if b"traceparent" in headers else None,
    )


def _bearer(given: bytes) -> str | None:
    scheme, _, token = given.decode("latin-1").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _traceparent(given: bytes) -> str | None:
    """What names no trace is passed over: an alert is not refused for its decoration."""
    return read_traceparent(given.decode("latin-1"))


def _is_foreign(scope: Scope, headers: Mapping[bytes, bytes]) -> bool:
    """Whether a browser says that another site's page sent this; programs say nothing of it."""
    says = b"origin" in headers or b"sec-fetch-site" in headers
    return says and is_foreign(HTTPConnection(scope))


def _is_too_long(length: bytes) -> bool:
    """Whether a stated length is. Twenty digits are, without computing what they say."""
    return length.isdigit() and (len(length) >= 20 or int(length) > MOST_BYTES)


def _hop(given: bytes) -> int:
    """How many relays forwarded this before us. More than one goes round in circles."""
    hop = int(given) if given.isdigit() and len(given) < 4 else 0
    if hop > MOST_HOPS:
        raise Refusal(422, "loop", "this alert was forwarded by a relay more than once")
    return hop


async def _body(receive: Receive) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(400, "incomplete", "the sender went away")
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > MOST_BYTES:
            raise Refusal(413, InvalidCode.TOO_LARGE, f"a body has at most {MOST_BYTES} bytes")
        if not message.get("more_body"):
            return b"".join(chunks)


async def _accept(state: State, posted: Posted) -> tuple[int, Answer]:
    parsed = parse(posted.body, posted.content_type)
    reading, entry = taken(state, _source(state, posted, parsed), posted, parsed)
    _check_backlog(state, entry)
    try:
        receipt = await state["intake"].accept(entry)
    except UnavailableError:
        raise Refusal(503, "unavailable", "the alert could not be stored: send it again") from None
    if isinstance(reading, Invalid):
        return _invalid(reading, receipt)
    return _receipt(receipt)


def taken(
    state: State, source: Source, posted: Posted, parsed: Parsed | Invalid
) -> tuple[Alert | Invalid, Entry]:
    """How an alert of this source is read, and what is journaled of it."""
    reading = parsed if isinstance(parsed, Invalid) else interpret(parsed, source.time_field)
    if isinstance(reading, Alert):
        reading = _in_time(state, reading)
    return reading, _entry(state, source, posted, parsed, reading)


def _source(state: State, posted: Posted, parsed: Parsed | Invalid) -> Source:
    """Whose alert it is, by path, Bearer, or a top-level body field; all wrong ones look the same.

    Who needs no token, and any token but a source's own, posts as the source of the settings.
    A page of another site always needs one: it may be open on the very machine that needs none.
    """
    given = _body_tokens(parsed) if posted.token is None else [posted.token]
    grant = None
    for token in given:
        grant = grant or state["doorkeeper"].grant(token, Permission.INGEST)
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


def _check_backlog(state: State, entry: Entry) -> None:
    most = state["rules"].queue_max * (1.2 if entry.side is Side.SELL else 1)
    if state["backlog"]() >= most:
        raise Refusal(503, "backlog_full", "too many signals are waiting: send it again later")


def _entry(
    state: State, source: Source, posted: Posted, parsed: Parsed | Invalid, reading: Alert | Invalid
) -> Entry:
    body = posted.body
    if not isinstance(parsed, Invalid):
        body, _ = cut_token(body, state["keyring"].is_own)
    alert = reading if isinstance(reading, Alert) else None
    sealed = alert is None or has_secrets(parsed)
    vault = state["vault"]
    id = SignalId(uuid7(state["clock"](), state["chance"](10)))
    window = _window(state, source, posted, alert)
    return Entry(
        id=id,
        source=source.name,
        key=_key(source, posted.idempotency_key if alert else None, body if window else id.bytes),
        window=window,
        lifetime=_lifetime(state, source, alert.side) if alert else timedelta(0),
        content_type=_content_type(posted, parsed),
        hop=posted.hop,
        traceparent=posted.traceparent,
        body=vault.seal(body) if sealed else body,
        body_sealed=sealed,
        invalid=reading.code if isinstance(reading, Invalid) else None,
        **_columns(alert),
    )


def _columns(alert: Alert | None) -> dict[str, Any]:
    if alert is None:
        return {}
    return {
        "ticker": alert.ticker,
        "exchange": alert.exchange,
        "symbol": alert.symbol,
        "side": alert.side,
        "closes": alert.closes,
        "partial": alert.partial,
        "price": alert.price,
        "price_text": alert.price_text,
        "sender_time": alert.time,
        "sent_at": alert.sent_at,
    }


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


def _receipt(receipt: Receipt) -> tuple[int, str]:
    """JSON by hand, of words that need no escapes.

    What is new was received, and its verdict comes after: some have it already, and nobody is to
    rely on that.
    """
    early = receipt.status is SignalStatus.REJECTED and not receipt.duplicate
    status = SignalStatus.RECEIVED if early else receipt.status
    ticker = f'"{receipt.ticker}"' if receipt.ticker else "null"
    duplicate = "true" if receipt.duplicate else "false"
    return 200 if receipt.duplicate else 202, (
        f'{{"signal_id": "{receipt.id}", "status": "{status}", '
        f'"ticker": {ticker}, "duplicate": {duplicate}}}'
    )


def _invalid(invalid: Invalid, receipt: Receipt) -> tuple[int, dict[str, Any]]:
    return 422 if invalid.readable else 400, {
        "error": invalid.detail,
        "code": invalid.code,
        "detail": invalid.detail,
        "signal_id": str(receipt.id),
        "status": SignalStatus.INVALID,
        "duplicate": receipt.duplicate,
    }
