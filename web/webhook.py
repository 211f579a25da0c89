"""POST /webhook/in: where alerts arrive. Plain ASGI in front of the framework: the hot path."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from database.journal import Entry, Receipt
from database.pool import UnavailableError
from domain.access import Scope as Permission
from domain.alert import Alert, Invalid, InvalidCode, Parsed, interpret, parse
from domain.body import cut_token, has_secrets
from domain.signal import Side, SignalId, SignalStatus, uuid7
from engines.failpoints import Point
from web.dependencies import State
from web.security import SECURITY_HEADERS

PATH = "/webhook/in"
MOST_BYTES = 65_536
MOST_HOPS = 1
LONG_WINDOW = timedelta(hours=24)
TOO_FAR_AHEAD = timedelta(minutes=5)
CONTENT_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(?:; ?charset=[\w-]+)?", re.ASCII)


class Refusal(Exception):  # noqa: N818  it refuses, it does not fail
    """An answer other than a receipt."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail


@dataclass(frozen=True, slots=True)
class Posted:
    """A request as it came: what was posted, and what stood around it."""

    body: bytes
    content_type: str
    token: str | None
    idempotency_key: str | None
    hop: int = 0


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
    try:
        posted = await _read(scope, receive)
        state["reach"](Point.WEBHOOK_READ)
        status, answer = await _accept(state, posted)
    except Refusal as refusal:
        status = refusal.status
        answer = {"error": refusal.detail, "code": refusal.code, "detail": refusal.detail}
    state["metrics"].accepted.labels(str(status)).inc()
    state["reach"](Point.WEBHOOK_BEFORE_ANSWER)
    await _send(send, status, answer)


async def _send(send: Send, status: int, answer: Mapping[str, Any]) -> None:
    body = json.dumps(answer).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *SECURITY_HEADERS.items(),
    ]
    more = {
        405: (b"allow", b"POST"),
        503: (b"retry-after", b"5"),
        401: (b"www-authenticate", b"Bearer"),
    }
    if status in more:
        headers.append(more[status])
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _read(scope: Scope, receive: Receive) -> Posted:
    if scope["method"] != "POST":
        raise Refusal(405, "method_not_allowed", "alerts are posted")
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    if headers.get(b"content-encoding", "").lower() not in {"", "identity"}:
        raise Refusal(415, "content_encoding", "a compressed body is not read")
    if _is_too_long(headers.get(b"content-length", "0")):
        raise Refusal(413, InvalidCode.TOO_LARGE, f"a body has at most {MOST_BYTES} bytes")
    scheme, _, token = headers.get(b"authorization", "").partition(" ")
    in_path = scope["path"].removeprefix(PATH).removeprefix("/")
    return Posted(
        body=await _body(receive),
        content_type=headers.get(b"content-type", ""),
        token=in_path or (token.strip() if scheme.lower() == "bearer" else None) or None,
        idempotency_key=headers.get(b"idempotency-key"),
        hop=_hop(headers.get(b"relay-hop", "0")),
    )


def _is_too_long(length: str) -> bool:
    """Whether a stated length is. Twenty digits are, without computing what they say."""
    return length.isdecimal() and (len(length) >= 20 or int(length) > MOST_BYTES)


def _hop(given: str) -> int:
    """How many relays forwarded this before us. More than one goes round in circles."""
    hop = int(given) if given.isdecimal() and len(given) < 4 else 0
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


async def _accept(state: State, posted: Posted) -> tuple[int, dict[str, Any]]:
    parsed = parse(posted.body, posted.content_type)
    _authorise(state, posted, parsed)
    reading = parsed if isinstance(parsed, Invalid) else interpret(parsed)
    if isinstance(reading, Alert):
        reading = _in_time(state, reading)
    entry = _entry(state, posted, parsed, reading)
    _check_backlog(state, entry)
    with state["metrics"].accept_seconds.time():
        try:
            receipt = await state["intake"].accept(entry)
        except UnavailableError:
            raise Refusal(
                503, "unavailable", "the alert could not be stored: send it again"
            ) from None
    if isinstance(reading, Invalid):
        return _invalid(reading, receipt)
    return _receipt(receipt)


def _authorise(state: State, posted: Posted, parsed: Parsed | Invalid) -> None:
    """By path, Bearer, or a top-level body field; all wrong ones look the same."""
    if state["rules"].open_ingress:
        return
    candidates = [posted.token, *(_body_tokens(parsed) if posted.token is None else ())]
    if not any(_may_post(state, token) for token in candidates):
        raise Refusal(401, "unauthorized", "a token for alerts is needed")


def _may_post(state: State, token: str | None) -> bool:
    return state["doorkeeper"].grant(token, Permission.INGEST) is not None


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
    state: State, posted: Posted, parsed: Parsed | Invalid, reading: Alert | Invalid
) -> Entry:
    body = posted.body
    if not isinstance(parsed, Invalid):
        body, _ = cut_token(body, lambda token: _may_post(state, token))
    alert = reading if isinstance(reading, Alert) else None
    sealed = alert is None or has_secrets(parsed)
    vault, rules = state["vault"], state["rules"]
    return Entry(
        id=SignalId(uuid7(state["clock"](), state["entropy"](10))),
        source="webhook",
        key=_key(posted.idempotency_key if alert else None, body),
        window=LONG_WINDOW if _is_named(posted, alert) else rules.dedupe_window,
        lifetime=rules.lifetimes[alert.side] if alert else timedelta(0),
        content_type=_content_type(posted, parsed),
        hop=posted.hop,
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


def _key(named: str | None, body: bytes) -> bytes:
    """What makes two alerts the same: the sender's Idempotency-Key, else the very same bytes.

    A key names an alert. What is none goes by its bytes, lest it swallow the mended alert that
    its sender posts next under the same key.
    """
    basis = b"key\0" + named.encode("latin-1") if named else b"body\0" + body
    return hashlib.sha256(b"webhook\0" + basis).digest()


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


def _receipt(receipt: Receipt) -> tuple[int, dict[str, Any]]:
    return 200 if receipt.duplicate else 202, {
        "signal_id": str(receipt.id),
        "status": receipt.status,
        "ticker": receipt.ticker,
        "duplicate": receipt.duplicate,
    }


def _invalid(invalid: Invalid, receipt: Receipt) -> tuple[int, dict[str, Any]]:
    return 422 if invalid.readable else 400, {
        "error": invalid.detail,
        "code": invalid.code,
        "detail": invalid.detail,
        "signal_id": str(receipt.id),
        "status": SignalStatus.INVALID,
        "duplicate": receipt.duplicate,
    }
