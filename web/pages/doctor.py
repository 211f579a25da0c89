"""The doctor's page: read an alert, rehearse it, send a test, and see how the installation is."""

import base64
import json
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from database import destinations, rehearsals, sources, statistics, universes
from database.pool import is_unavailable
from domain.access import Scope
from domain.messages import SENDERS, filled, messages
from domain.parsed import MOST_BYTES
from domain.signal import WEBHOOK, Side
from web import rehearsals as calls
from web.dependencies import Parts, State, actor_with
from web.errors import ProblemError
from web.forms import fields_of
from web.health import SICK_AFTER
from web.lists import look, trust_of, trust_since
from web.pages.forms import Done, Fields, act
from web.pages.shell import Page, Visiting, Visitor
from web.rehearsals import RehearsalIn
from web.views import checkup
from web.views.doctor import DoctorView, ResultView, message_groups, result_view
from web.views.lists import list_view
from web.views.words import iso

router = APIRouter(prefix="/admin/doctor", include_in_schema=False)

NAME = 60
"""The most of a name in an address that is looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """What a form of the page held; ``test`` when it is the test alert's."""

    body: str = field(default="", repr=False)
    source: str = WEBHOOK
    test: bool = False
    side: str = Side.BUY
    ticker: str = ""
    price: str = ""

    @classmethod
    def of(cls, fields: Fields) -> "Typed":
        return cls(
            body=fields.get("body", "").replace("\r\n", "\n"),
            source=fields.get("source", WEBHOOK),
            test="ticker" in fields or "side" in fields,
            side=fields.get("side", Side.BUY),
            ticker=fields.get("ticker", ""),
            price=fields.get("price", ""),
        )


@router.get("")
async def doctor(
    visitor: Visiting,
    parts: Parts,
    source: Annotated[str, Query(max_length=NAME)] = WEBHOOK,
    message: Annotated[str | None, Query(max_length=NAME)] = None,
) -> Response:
    """The page; with a ready ``message`` in it, as TradingView would send it."""
    ready = {one.name: one for one in messages(await _sent_as(parts, source))}
    text = ready[message].text if message in ready else ""
    typed = Typed(body=await _filled(parts, text), source=source)
    return Page("doctor.html", await _view(visitor, parts, typed)).render()


@router.post("")
async def rehearse(request: Request, visitor: Visiting, parts: Parts) -> Response:
    """Say what would become of a message, or of the test alert. Nothing is sent."""
    fields = await fields_of(request, MOST_BYTES)
    await actor_with(request, Scope.TRADE)
    typed = Typed.of(fields)
    try:
        text = _test(typed, parts) if typed.test else typed.body
        if "fill" in fields:
            text = await _filled(parts, text)
            typed = Typed(body=text, source=typed.source)
        given = RehearsalIn(body=text, source=typed.source[:NAME])
        found = await calls.rehearsed(parts, given)
    except ProblemError as problem:
        return await _refused(visitor, parts, typed, problem)
    except Exception as error:
        if not is_unavailable(error):
            raise
        words = "The database, or whoever judges just now, did not answer in time: try it again."
        busy = ProblemError(503, "unavailable", words)
        return await _refused(visitor, parts, typed, busy)
    result = result_view(found, fills="{{" in text)
    view = await _view(visitor, parts, typed, result=result, test=text if typed.test else None)
    return Page("doctor.html", view).render()


@router.post("/send")
async def send(request: Request, visitor: Visiting, parts: Parts) -> Response:
    """Send the test alert for real: it is journaled and judged as any other."""

    async def do(fields: Fields) -> Done:
        actor = await actor_with(request, Scope.TRADE)
        typed = Typed.of(fields)
        given = RehearsalIn(body=typed.body, source=typed.source[:NAME])
        receipt = await calls.sent(parts, given, actor)
        words = (
            "It was taken for a repeat of this signal: nothing new was made."
            if receipt.duplicate
            else "The test alert was sent. This is what becomes of it."
        )
        return Done(f"/admin/signals/{receipt.id}", words)

    async def again(fields: Fields, words: str) -> Page:
        typed = Typed.of(fields)
        return Page("doctor.html", await _view(visitor, parts, typed, refused=words))

    return await act(visitor, do, again, sensitive=True, most=MOST_BYTES)


async def _refused(visitor: Visitor, parts: State, typed: Typed, problem: ProblemError) -> Response:
    view = await _view(visitor, parts, typed, refused=problem.detail)
    return Page("doctor.html", view).render(problem.status)


def _test(typed: Typed, parts: State) -> str:
    """The test alert. Its id makes it another alert than the last test, and none twice."""
    if not typed.ticker:
        raise ProblemError(400, "invalid_field", "ticker: it is empty", field="ticker")
    key = base64.b32encode(parts["entropy"](10)).decode().lower()
    fields = {"ticker": typed.ticker, "action": typed.side}
    fields |= {"sentiment": "flat"} if typed.side == Side.SELL else {}
    fields |= {"price": typed.price} if typed.price else {}
    return json.dumps(fields | {"id": f"doctor-{key}"})


async def _filled(parts: State, text: str) -> str:
    """With its placeholders filled in, now and with a ticker that would pass."""
    if not text:
        return ""
    now = iso(parts["clock"]())
    values = {"timenow": now, "time": now, "ticker": await _first(parts)}
    return filled(text, {name: value for name, value in values.items() if value})


async def _first(parts: State) -> str:
    """The ticker on top of the list, "" without one."""
    async with parts["pages"].read() as connection:
        universe = (await universes.current(connection)).universe
    return universe.tickers[0] if universe and universe.tickers else ""


async def _sent_as(parts: State, source: str) -> str:
    """The member in which a source says when it sent."""
    return parts["keyring"].source(source).time_field or "timenow"


async def _view(
    visitor: Visitor,
    parts: State,
    typed: Typed,
    *,
    result: ResultView | None = None,
    test: str | None = None,
    refused: str | None = None,
) -> DoctorView:
    rules, asked = parts["rules"], parts["clock"]()
    async with parts["pages"].read() as connection:
        database = await rehearsals.checkup(connection)
        answered = parts["clock"]()
        known = [one.source for one in await sources.listed(connection)]
        places = await destinations.listed(connection, parts["vault"])
        standings = await statistics.standings(connection)
        current, last = await look(connection)
        shell = await visitor.shell(connection, "doctor")
    listed = list_view(
        current, last, trust_of(current, rules), trust_since(current, rules), elite=rules.elite
    )
    every = checkup.sorted_checks(
        [
            checkup.address(rules.public_url),
            checkup.token(open_ingress=rules.open_ingress),
            checkup.alerts(database),
            checkup.database(database),
            checkup.clock(asked, database.now, answered),
            checkup.listing(listed),
            *checkup.places(standings),
            *checkup.workers(_sick(parts)),
        ]
    )
    chosen = next((one for one in known if one.name == typed.source), known[0])
    first = current.universe.tickers[0] if current.universe and current.universe.tickers else ""
    return DoctorView(
        shell=shell,
        refused=refused,
        body=typed.body,
        source=chosen.name,
        sources=[one.name for one in known],
        result=result,
        test=test,
        side=typed.side,
        ticker=typed.ticker or first,
        price=typed.price,
        address=f"{rules.public_url or str(visitor.request.base_url).rstrip('/')}/webhook/in",
        senders=", ".join(SENDERS),
        groups=message_groups(messages(chosen.time_field or "timenow"), places),
        checks=every,
        summary=checkup.summary(every),
    )


def _sick(parts: State) -> list[str]:
    return [
        f"{worker.name} fails ({worker.health.failures_in_row} times in a row)."
        for worker in parts["workers"]
        if worker.health.failures_in_row >= SICK_AFTER
    ]
