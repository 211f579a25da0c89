"""The doctor's page: an alert rehearsed, messages to paste, and how the installation is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from domain.breaker import BreakerState
from domain.destination import DestinationState, Mode
from domain.mapping import Preset
from domain.messages import Message, Shape
from web.views.checkup import Check
from web.views.shell import Shell
from web.views.words import counted, duration, iso


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    name: str
    value: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberRow:
    """A member of an alert, and what it told us."""

    name: str
    tells: str
    secret: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRow:
    """A request that would leave; ``words`` says when, or why it would not."""

    destination: str
    words: str
    url: str
    headers: Mapping[str, str]
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultView:
    """What a rehearsal found. ``fills``: the message has placeholders that could be filled in."""

    sentence: str
    tone: str
    code: str | None
    advice: Sequence[str]
    facts: Sequence[Fact]
    members: Sequence[MemberRow]
    body: str
    fills: bool
    decision: str | None
    why: str
    repeats: str | None
    grounds: Sequence[Fact]
    requests: Sequence[RequestRow]
    comes_to: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRow:
    name: str
    title: str
    where: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageGroup:
    """Messages of one shape, and which destinations they suit. ``wanted``: one does."""

    title: str
    wanted: bool
    suits: str
    messages: Sequence[MessageRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorView:
    """templates/doctor.html.

    ``body`` is what was typed, ``result`` what came of it. ``test`` is the test alert that was
    played, which may be sent for real; ``side``, ``ticker`` and ``price`` are those of its form.
    """

    shell: Shell
    refused: str | None
    body: str
    source: str
    sources: Sequence[str]
    result: ResultView | None
    test: str | None
    side: str
    ticker: str
    price: str
    address: str
    senders: str
    groups: Sequence[MessageGroup]
    checks: Sequence[Check]
    summary: str


# ── What a rehearsal found ──────────────────────────────────────────────────────────────────


def result_view(found: Mapping[str, Any], *, fills: bool) -> ResultView:
    """What POST /api/rehearsals answers, for people."""
    reading, decision = found["reading"], found["decision"]
    alert = reading["alert"]
    requests = [_request_row(one) for one in found["requests"]]
    return ResultView(
        sentence=_read(alert) if alert else f"It cannot be read: {reading['detail']}.",
        tone="good" if alert else "bad",
        code=reading["code"] and f"{reading['code']}, answered {reading['answer']}",
        advice=reading["advice"],
        facts=_facts(reading, alert) if alert else [],
        members=[_member_row(one, cut=reading["token_cut"]) for one in reading["members"]],
        body=reading["body"],
        fills=fills,
        decision=decision and _decided(decision),
        why=decision["why"] if decision else "",
        repeats=str(decision["repeats"]) if decision and decision["repeats"] else None,
        grounds=_grounds(decision) if decision else [],
        requests=requests,
        comes_to=_comes_to(decision, found["requests"]) if decision else "",
    )


def _read(alert: Mapping[str, Any]) -> str:
    if alert["side"] == "buy":
        does = "covers a short position of" if alert["closes"] else "buys"
        return f"It {does} {alert['ticker']}."
    if alert["closes"] is False:
        return f"It sells {alert['ticker']} short."
    return f"It sells {'a part of' if alert['partial'] else 'all of'} {alert['ticker']}."


def _known(given: Mapping[str, str | None], **hints: str) -> list[Fact]:
    return [
        Fact(name=name, value=value, hint=hints.get(name.lower(), ""))
        for name, value in given.items()
        if value
    ]


def _facts(reading: Mapping[str, Any], alert: Mapping[str, Any]) -> list[Fact]:
    sent, time, text = (alert[name] for name in ("sent_at", "time", "price_text"))
    return _known(
        {
            "Ticker": alert["ticker"],
            "Side": alert["side"],
            "Exchange": alert["exchange"],
            "Price": alert["price"] or (text and f"{text} (not read)"),
            "Sent": sent and iso(sent),
            "Time": iso(time) if time and time != sent else None,
            "Id": alert["id"],
            "Source": reading["source"],
        },
        ticker=_spelled(alert),
        sent="its age counts from then",
        time="taken for a bar's: kept, and no more",
    )


def _spelled(alert: Mapping[str, Any]) -> str:
    if not alert["normalised"]:
        return ""
    return f"from {alert['symbol']}: {alert['normalised']}"


def _member_row(one: Mapping[str, Any], *, cut: bool) -> MemberRow:
    if one["secret"]:
        ours = cut and one["name"] in {"token", "secret"}
        words = "our own token: cut out" if ours else "a secret: kept sealed, shown as •••"
    else:
        words = ", ".join(one["tells"]) or "changes nothing here, passed on"
    return MemberRow(name=one["name"], tells=words, secret=one["secret"])


DECIDED = {
    "approved": "It would be approved.",
    "rejected": "It would be rejected.",
    "expired": "It would be expired on arrival.",
    "received": "It would wait for its ticker to come into the list.",
}


def _decided(decision: Mapping[str, Any]) -> str:
    return DECIDED[decision["status"]]


def _grounds(decision: Mapping[str, Any]) -> list[Fact]:
    version, rank, cutoff = (decision[n] for n in ("universe_version", "rank", "cutoff"))
    age, rule, position = (decision[n] for n in ("list_age_ms", "rule", "position"))
    waits, expires = decision["waits_until"], decision["expires_at"]
    return _known(
        {
            "Reason": decision["reason"],
            "List version": None if version is None else str(version),
            "Rank": None if cutoff is None else f"{rank or 'none'}; up to {cutoff} counts",
            "List age": None if age is None else duration(timedelta(milliseconds=age)),
            "Rule": rule and _rule(rule),
            "Position": position and _position(position),
            "Waits until": waits and iso(waits),
            "Lives until": expires and iso(expires),
        }
    )


def _rule(rule: Mapping[str, str | None]) -> str:
    limit, until = rule["limit"], rule["until"]
    words = "of every source" if rule["of"] == "every" else f"of {rule['of']}"
    return ", ".join(part for part in (words, limit, until and f"until {until}") if part)


def _position(position: Mapping[str, Any]) -> str:
    if position["does"] == "none":
        return "there is none"
    return f"{position['does']} {'one' if position['does'] == 'opens' else 'the one there is'}"


def _comes_to(decision: Mapping[str, Any], requests: Sequence[Mapping[str, Any]]) -> str:
    """What sending it for real would do, with numbers."""
    if decision["status"] == "received":
        return "It would wait, and may be bought when its ticker comes into the list."
    if decision["status"] != "approved":
        return "As things stand now it would be turned away, and nothing would leave."
    does = decision["position"]["does"]
    acts = {
        "opens": "It opens a position here. ",
        "adds to": "It adds to the position there is. ",
        "ends": "It sells the whole position there is. ",
        "takes a part of": "It sells a part of the position there is. ",
    }.get(does, "")
    return acts + _leaving(requests) + _ending(decision["superseded"])


def _leaving(requests: Sequence[Mapping[str, Any]]) -> str:
    live = [one["destination"] for one in requests if one["mode"] == Mode.LIVE]
    if not live:
        return "Nothing leaves: every destination of it is in a dry run."
    sends = counted(len(live), "request leaves", "requests leave")
    return f"{sends}, to {', '.join(live)}: whoever receives it may trade with real money."


def _ending(superseded: int) -> str:
    if not superseded:
        return ""
    return f" {counted(superseded, 'buy that waits', 'buys that wait')} would not be sent any more."


def _request_row(one: Mapping[str, Any]) -> RequestRow:
    return RequestRow(
        destination=one["destination"],
        words=_when(one),
        url=one["url"],
        headers=one["headers"],
        body=one["body"],
    )


def _when(one: Mapping[str, Any]) -> str:
    if one["mode"] == Mode.DRY_RUN:
        return "In a dry run: everything but this request would happen."
    if one["state"] != DestinationState.ENABLED:
        return f"It would wait: the destination is {one['state']}."
    if one["breaker"] != BreakerState.CLOSED:
        return "It would wait: the destination fails, and is tried now and then."
    return "As soon as its rate windows have room."


# ── Messages to paste ───────────────────────────────────────────────────────────────────────


def message_groups(
    messages: Sequence[Message], destinations: Sequence[Mapping[str, Any]]
) -> list[MessageGroup]:
    """Every message, with the destinations that understand it."""
    theirs = [one["name"] for one in destinations if _wants_traderspost(one)]
    others = [one["name"] for one in destinations if not _wants_traderspost(one)]
    ours = "They hold all that is read here."
    if others:
        ours += f" They suit {', '.join(others)}."
    suits = "For a TradersPost address that gets the body as it came. With the preset"
    suits += " traderspost those above do as well."
    if theirs:
        suits = f"They suit {', '.join(theirs)}, which gets the body as it came. {suits}"
    titles = {
        Shape.OURS: ("Messages", ours),
        Shape.TRADERSPOST: ("In the words of TradersPost", suits),
    }
    return [
        MessageGroup(
            title=title,
            wanted=shape is Shape.OURS or bool(theirs),
            suits=words,
            messages=[_message_row(one) for one in messages if one.shape is shape],
        )
        for shape, (title, words) in titles.items()
    ]


def _wants_traderspost(one: Mapping[str, Any]) -> bool:
    as_received = one["mapping"]["preset"] == Preset.AS_RECEIVED
    return as_received and "traderspost" in one["url"].lower()


def _message_row(one: Message) -> MessageRow:
    return MessageRow(name=one.name, title=one.title, where=one.where, text=one.text)
