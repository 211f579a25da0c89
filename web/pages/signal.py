"""One signal's whole life."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import Response

from database import audit, replays, selections
from database.audit import Facts, Life
from database.batches import BatchKind
from database.pool import ReadConnection
from database.selections import Selection
from domain.delivery import DeliveryState
from domain.signal import SignalId, SignalStatus
from domain.trace import trace_of
from domain.why import Around
from engines.relay.replayer import SUBJECTS
from web.errors import ProblemError
from web.pages.shell import Page, Visiting, Visitor
from web.replays import WORDS
from web.signals import body_shown, why
from web.views.life import AttemptRow, Hand, Relatives, SentView, SignalView, steps_of
from web.views.signals import signal_row
from web.views.words import NOTHING, Moment, duration, moment

router = APIRouter(prefix="/admin", include_in_schema=False)


@router.get("/signals/{id}")
async def signal(id: UUID, visitor: Visiting) -> Response:
    """One signal's whole life."""
    return Page("signal.html", await signal_view(visitor, SignalId(id))).render()


@router.get("/partials/signals/{id}/life")
async def signal_partial(id: UUID, visitor: Visiting) -> Response:
    """What a live page reads again while it is not over."""
    return Page("partials/signal.html", await signal_view(visitor, SignalId(id))).render()


async def signal_view(
    visitor: Visitor, id: SignalId, *, refused: str | None = None, tried: str = ""
) -> SignalView:
    """A signal's page. Raises ProblemError 404."""
    parts = visitor.parts
    async with parts["pages"].read() as connection:
        life = await audit.life(connection, id)
        if life is None:
            raise ProblemError(404, "no_such_signal", "There is no signal with this id.")
        family = await replays.family(connection, id)
        beside = await audit.beside(connection, id)
        hand = await _replay(connection, life)
        resends = {one["id"]: await _resend(connection, one) for one in life.deliveries}
        shell = await visitor.shell(connection, "signals")
    row, now = life.signal, parts["clock"]()
    places = {one["id"]: one["destination"] for one in life.deliveries}
    body = body_shown(row, parts["vault"])
    return SignalView(
        shell=shell,
        row=replace(signal_row(row, now), why=why(life)),
        facts=_facts(life),
        list_version=str(row["universe_version"] or ""),
        steps=steps_of(life.events, places, now),
        sent=[_sent(one, life.attempts, resends[one["id"]], now) for one in life.deliveries],
        several=len(life.deliveries) > 1,
        replay=hand,
        relatives=_relatives(beside, family),
        body=body,
        curl=_curl(visitor, row["content_type"], body),
        masked=row["body_sealed"],
        live=f"/admin/partials/signals/{id}/life" if _goes_on(life) else "",
        refused=refused,
        tried=tried,
    )


def _goes_on(life: Life) -> bool:
    """Whether something more can happen to it by itself."""
    states = {DeliveryState(one["state"]) for one in life.deliveries}
    received = life.signal["status"] == SignalStatus.RECEIVED
    return received or any(not state.final for state in states)


async def _replay(connection: ReadConnection, life: Life) -> Hand | None:
    """Whether it can be replayed; None while it is on its way, and for what is no signal."""
    if _goes_on(life) or life.signal["status"] == SignalStatus.INVALID:
        return None
    return await _hand(connection, BatchKind.REPLAY, life.signal["id"])


async def _resend(connection: ReadConnection, delivery: Facts) -> Hand | None:
    if not DeliveryState(delivery["state"]).final:
        return None
    return await _hand(connection, BatchKind.RESEND, delivery["id"])


async def _hand(connection: ReadConnection, kind: BatchKind, id: UUID) -> Hand:
    """What would be said to a command about this one alone."""
    found = await selections.look(connection, SUBJECTS[kind], Selection(ids=[id]))
    refusal = next(iter(found.refused), None)
    if refusal is None:
        return Hand(refused="", forced=False)
    return Hand(refused=WORDS[replays.Refusal(refusal)], forced=refusal in SUBJECTS[kind].forced)


def _sent(
    delivery: Facts, attempts: Sequence[Facts], resend: Hand | None, now: datetime
) -> SentView:
    state = DeliveryState(delivery["state"])
    due = delivery["due_at"] if state is DeliveryState.QUEUED and delivery["attempts"] else None
    return SentView(
        id=str(delivery["id"]),
        destination=delivery["destination"],
        version=delivery["destination_version"],
        state=state,
        reason=delivery["reason"] or "",
        until=due and Moment(due, f"in {duration(due - now)}"),
        attempts=[_attempt(one, now) for one in attempts if one["delivery_id"] == delivery["id"]],
        queued=state is DeliveryState.QUEUED,
        held=state is DeliveryState.HELD,
        resend=resend,
    )


def _attempt(attempt: Facts, now: datetime) -> AttemptRow:
    took = attempt["duration_ms"]
    return AttemptRow(
        number=attempt["number"],
        started=moment(attempt["started_at"], now),
        outcome=attempt["outcome"] or "on_its_way",
        status=NOTHING if attempt["status"] is None else str(attempt["status"]),
        took=NOTHING if took is None else f"{took} ms",
        resend=attempt["possible_resend"],
        answer=attempt["error"] or attempt["answer"] or "",
    )


def _relatives(beside: Facts, family: Facts) -> Relatives:
    return Relatives(
        previous=_id(beside.get("previous")),
        next=_id(beside.get("next")),
        position=_id(beside.get("position")),
        batch=_id(family.get("batch_id")),
        replay_of=_id(family.get("replay_of")),
        replays=family.get("replays", ()),
    )


def _id(id: UUID | None) -> str:
    return "" if id is None else str(id)


def _curl(visitor: Visitor, content_type: str, body: str) -> str:
    """Sends it once more, from a shell."""
    rules = visitor.parts["rules"]
    base = rules.public_url or str(visitor.request.base_url).rstrip("/")
    kind = shlex.quote(f"Content-Type: {content_type}")
    return (
        f'curl -H "Authorization: Bearer $WEBHOOK_TOKEN" -H {kind} \\\n'
        f"     --data-binary {shlex.quote(body)} {base}/webhook/in"
    )


def _facts(life: Life) -> dict[str, str]:
    row = life.signal
    facts = {
        "Price": row["price_text"],
        "Source": row["source"],
        "Symbol as sent": row["symbol"],
        "Exchange": row["exchange"],
        "Sender's time": row["sender_time"],
        "Rank": row["rank"],
        "Top N then": row["cutoff"],
        "List age": _age(row["list_age_ms"]),
        "Expires": row["expires_at"],
        "Reason": row["reason"],
        "Trace": trace_of(row["id"], row["traceparent"]).hex(),
        **_around(life.around),
    }
    return {name: _plain(value) for name, value in facts.items() if value is not None}


def _around(around: Around | None) -> dict[str, object]:
    """The list it was judged by, and what its ticker did around then."""
    if around is None:
        return {}
    return {
        "Screen": around.screen,
        "Rows of the screen": around.total,
        "Margin": around.margin or None,
        "Came into the list": around.entered_at,
        "Stayed for": around.entered_for and duration(around.entered_for),
        "Had left": around.left_before and f"{duration(around.left_before)} before",
    }


def _age(age_ms: int | None) -> str | None:
    return None if age_ms is None else duration(timedelta(milliseconds=age_ms))


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    return "" if value is None else str(value)
