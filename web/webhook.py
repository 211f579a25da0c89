"""POST /webhook/in: where alerts arrive, in front of the framework; by ASGI, or by express."""

import asyncio
import json
from collections.abc import Awaitable, Mapping
from functools import lru_cache
from typing import Any, Protocol, TypeAlias, cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from database.journal import Receipt
from database.pool import UnavailableError, acting_from
from domain.alert import Invalid, InvalidCode
from domain.signal import SignalStatus
from engines.failpoints import Point
from web.dependencies import State, origin_in, too_many
from web.posted import PATH, NotAdmittedError, Refusal
from web.security import Headers, security_headers
from web.together import Asked, Together

MOST_BYTES = 65_536
TELLING = "telling"
JSON = (b"content-type", b"application/json")
MORE = {
    405: (b"allow", b"POST"),
    503: (b"retry-after", b"5"),
    401: (b"www-authenticate", b"Bearer"),
}
"""Headers that go with a status."""

Answer: TypeAlias = str | Mapping[str, Any]
"""A receipt, written already, or the words of a refusal."""
Outcome: TypeAlias = tuple[int, Answer, NotAdmittedError | None]
"""Status and words of an answer; and who was not let in, which is to be told of."""


class Whole(Protocol):
    """A request that is there with its body, as our server has it: answered without a task."""

    body: bytearray

    def answer(self, status: int, headers: Headers, body: bytes) -> None: ...

    def fail(self, error: Exception) -> None:
        """Log what went wrong with us, and answer 500."""
        ...


class Express(Protocol):
    """An application that some requests may pass through without a task of their own."""

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]: ...

    def express(self, scope: Scope, whole: Whole) -> bool: ...


class Webhook:
    """Answers its own paths and hands everything else to ``app``."""

    def __init__(self, app: ASGIApp) -> None:
        self._app, self._together = app, Together()
        self._telling: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _is_ours(scope["path"]):
            await self._respond(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def express(self, scope: Scope, whole: Whole) -> bool:
        """Take an alert that is whole, and answer it later; False: it has to go the usual way."""
        if not _is_ours(scope["path"]) or len(whole.body) > MOST_BYTES:
            return False
        try:
            headers = _checked_headers(scope)
        except Refusal:
            return False
        asked = self._ask(scope, headers, bytes(whole.body))
        asked.receipt.add_done_callback(lambda _: self._finish(asked, whole))
        return True

    async def told(self) -> None:
        """Return when the trail has everybody who was refused up to now."""
        if self._telling:
            await asyncio.wait(self._telling)

    def _finish(self, asked: Asked, whole: Whole) -> None:
        try:
            status, answer, stranger = _outcome(asked)
            whole.answer(status, *_written(asked.scope, status, answer))
        except Exception as error:  # noqa: BLE001  whatever it is, who asked is told
            whole.fail(error)
            return
        if stranger:
            telling = asyncio.create_task(_tell(asked.scope, stranger), name=TELLING)
            self._telling.add(telling)
            telling.add_done_callback(self._telling.discard)

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            headers = _checked_headers(scope)
            asked = self._ask(scope, headers, await _body(receive))
        except Refusal as refusal:
            outcome = _refused(refusal)
        else:
            await asyncio.wait({asked.receipt})
            outcome = _outcome(asked)
        status, answer, stranger = outcome
        headers, body = _written(scope, status, answer)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        if stranger:  # told after the answer: nobody waits for it
            await _tell(scope, stranger)

    def _ask(self, scope: Scope, headers: Mapping[bytes, bytes], body: bytes) -> Asked:
        _state(scope)["reach"](Point.WEBHOOK_READ)
        return self._together.ask(scope, headers, body)


def _outcome(asked: Asked) -> Outcome:
    try:
        receipt = asked.receipt.result()
    except NotAdmittedError as refusal:
        return *_told(_patience(asked.scope, refusal)), refusal
    except Refusal as refusal:
        return _refused(refusal)
    except UnavailableError:
        words = "the alert could not be stored: send it again"
        return _refused(Refusal(503, "unavailable", words))
    return _invalid(asked.invalid, receipt) if asked.invalid else _receipt(receipt)


def _refused(refusal: Refusal) -> Outcome:
    return *_told(refusal), None


def _state(scope: Scope) -> State:
    return cast("State", scope["state"])


def _is_ours(path: str) -> bool:
    return path == PATH or path.startswith(PATH + "/")


def _told(refusal: Refusal) -> tuple[int, dict[str, Any]]:
    words = {"error": refusal.detail, "code": refusal.code, "detail": refusal.detail}
    return refusal.status, words | refusal.more


def _patience(scope: Scope, refusal: NotAdmittedError) -> Refusal:
    """After too many wrong tokens of an origin the next is told to wait; a right one never is."""
    acting_from.set(origin_in(scope))
    seconds = _state(scope)["refusals"].beyond() if refusal.guessed else None
    if not seconds:
        return refusal
    problem = too_many(seconds)
    return Refusal(problem.status, problem.code, problem.detail, **problem.more)


async def _tell(scope: Scope, refusal: NotAdmittedError) -> None:
    refusals, door = _state(scope)["refusals"], f"POST {PATH}"
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


def _written(scope: Scope, status: int, answer: Answer) -> tuple[Headers, bytes]:
    """Headers and body of an answer, which is counted."""
    state = _state(scope)
    state["metrics"].answered(status)
    state["reach"](Point.WEBHOOK_BEFORE_ANSWER)
    body = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
    later = "" if isinstance(answer, str) else answer.get("retry_after", "")
    return _headers(status, len(body), later, security_headers(scope)), body


@lru_cache(maxsize=256)
def _headers(status: int, length: int, later: str, always: Headers) -> Headers:
    """Those of an answer, as one tuple for all that are alike."""
    more = (MORE[status],) if status in MORE else ()
    retry = ((b"retry-after", later.encode()),) if later else ()
    return (JSON, (b"content-length", b"%d" % length), *always, *more, *retry)


def _checked_headers(scope: Scope) -> Mapping[bytes, bytes]:
    """The headers of a request whose body is worth reading. Raises Refusal."""
    if scope["method"] != "POST":
        raise Refusal(405, "method_not_allowed", "alerts are posted")
    headers: dict[bytes, bytes] = dict(scope["headers"])
    if headers.get(b"content-encoding", b"").lower() not in {b"", b"identity"}:
        raise Refusal(415, "content_encoding", "a compressed body is not read")
    if _is_too_long(headers.get(b"content-length", b"0")):
        raise Refusal(413, InvalidCode.TOO_LARGE, f"a body has at most {MOST_BYTES} bytes")
    return headers


def _is_too_long(length: bytes) -> bool:
    """Whether a stated length is. Twenty digits are, without computing what they say."""
    return length.isdigit() and (len(length) >= 20 or int(length) > MOST_BYTES)


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


def _receipt(receipt: Receipt) -> Outcome:
    """JSON by hand, of words that need no escapes.

    What is new was received, and its verdict comes after: some have it already, and nobody is to
    rely on that.
    """
    early = receipt.status is SignalStatus.REJECTED and not receipt.duplicate
    status = SignalStatus.RECEIVED if early else receipt.status
    ticker = f'"{receipt.ticker}"' if receipt.ticker else "null"
    duplicate = "true" if receipt.duplicate else "false"
    words = (
        f'{{"signal_id": "{receipt.id}", "status": "{status}", '
        f'"ticker": {ticker}, "duplicate": {duplicate}}}'
    )
    return 200 if receipt.duplicate else 202, words, None


def _invalid(invalid: Invalid, receipt: Receipt) -> Outcome:
    words = {
        "error": invalid.detail,
        "code": invalid.code,
        "detail": invalid.detail,
        "signal_id": str(receipt.id),
        "status": SignalStatus.INVALID,
        "duplicate": receipt.duplicate,
    }
    return 422 if invalid.readable else 400, words, None
