"""How a relay stands, of what /status tells: a sentence, what is wrong, and its numbers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from launcher.asking import Found, Relay
from launcher.terminal import visible
from web.views.words import counted, duration

Item: TypeAlias = Mapping[str, Any]

SICK_AFTER = 3
"""Failures of a worker in a row; /health/ready counts as many."""

SAID = {"breaker_open", "list_stale", "list_unknown", "list_suspect"}
"""Causes of attention that the state itself tells."""

GOOD_LOOKS = {"ok", "empty"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is wrong, and what one does about it."""

    words: str
    todo: str


def sentence(status: Found) -> str:
    """How it does, in the words of the overview page."""
    listed = _listed(status["list"])
    standings: Sequence[Item] = status["destinations"]
    if not any(one["state"] == "enabled" for one in standings):
        return f"Not forwarding: no destination is in use. {listed}"
    asked_to_wait = [
        visible(one["name"]) for one in standings if one["held_for"] and one["state"] != "disabled"
    ]
    doing = f"Waiting for {', '.join(asked_to_wait)}." if asked_to_wait else "Forwarding."
    buying = " Buying is paused." if status["buying"]["paused"] else ""
    waiting = counted(status["backlog"]["unfinished"], "delivery", "deliveries")
    return f"{doing}{buying} {listed} {waiting} waiting."


def _listed(found: Item) -> str:
    age = _span(found["age_sec"])
    return {
        "fresh": f"List fresh, {age} old.",
        "stale": f"List stale, {age} old: buys are rejected, sells go out.",
    }.get(found["trust"], "No list yet: buys are rejected, sells go out.")


def _span(seconds: float | None) -> str:
    return duration(None if seconds is None else timedelta(seconds=seconds))


# ── What is wrong ───────────────────────────────────────────────────────────────────────────


def problems(relay: Relay, status: Found, items: Sequence[Item]) -> list[Problem]:
    """What is wrong now, then what wants attention; what is only good to know is left out."""
    found = [
        *_workers(status["workers"]),
        *_destinations(relay, status["destinations"]),
        *_buying(relay, status["buying"]["paused"]),
        *_list(relay, status["list"]),
    ]
    urgent_first = sorted(items, key=lambda one: one["severity"] != "urgent")
    return found + [
        Problem(words=_worded(item), todo=_where(relay, item))
        for item in urgent_first
        if item["severity"] != "info" and item["cause"] not in SAID
    ]


def _workers(workers: Sequence[Item]) -> Iterator[Problem]:
    for one in workers:
        if one["failures_in_row"] >= SICK_AFTER:
            yield Problem(
                words=f"The worker {one['name']} fails: {visible(one['last_failure'] or '?')}.",
                todo="It is tried again and again. The log says why it fails.",
            )


def _destinations(relay: Relay, standings: Sequence[Item]) -> Iterator[Problem]:
    if all(one["state"] == "disabled" for one in standings):
        yield Problem(
            words="Signals go nowhere: there is no destination, or each is disabled.",
            todo=f"Make or enable one: {relay.page('/admin/destinations')}",
        )
    for one in standings:
        name, there = visible(one["name"]), relay.page(f"/admin/destinations/{one['id']}")
        if one["state"] == "paused":
            kept = counted(one["waiting"], "delivery waits", "deliveries wait")
            words = f"{name} is paused: {kept}, until its time is over."
            yield Problem(words=words, todo=f"Resume it when it is ready: {there}")
        # What is not in use is not tried either: that it failed is no alarm.
        if one["state"] == "enabled" and one["breaker"] != "closed":
            cause = visible(one["breaker_cause"] or "being tried")
            state = one["breaker"].replace("_", " ")
            yield Problem(
                words=f"{name} fails, its breaker is {state}: {cause}.",
                todo=f"It is tried now and then, the rest waits. Look there, then: {there}",
            )
        if one["held"]:
            held = counted(one["held"], "delivery is", "deliveries are")
            yield Problem(
                words=f"{held} held for {name}: nobody knows whether they arrived.",
                todo=f"Look there, then resolve each: {relay.page('/admin/attention')}",
            )


def _buying(relay: Relay, pause: Item | None) -> Iterator[Problem]:
    if pause:
        reason = visible(pause.get("reason") or "")
        yield Problem(
            words="Buying is paused" + (f": {reason}." if reason else "."),
            todo=f"Buys are rejected until somebody resumes it: {relay.page('/admin')}",
        )


def _list(relay: Relay, found: Item) -> Iterator[Problem]:
    last, there = found["last_fetch"], relay.page("/admin/list")
    if found["paused"]:
        yield Problem(words="Finviz is not asked: it was paused.", todo=f"Resume it: {there}")
    if found["pending"]:
        words = f"A list waits to be believed: {visible(str(found['pending']['reason']))}."
        yield Problem(words=words, todo=f"Accept or refuse it: {there}")
    if last and last["outcome"] not in GOOD_LOOKS:
        outcome, detail = last["outcome"].replace("_", " "), visible(last["detail"] or "")
        yield Problem(
            words=f"Finviz: {outcome}. {detail.rstrip('.')}.",
            todo=f"It is asked again by itself. What it answered: {there}/looks",
        )
    elif found["trust"] != "fresh" and not found["paused"]:
        words = "There is no fresh list: buys are rejected, sells go out."
        yield Problem(words=words, todo=f"See whether the screen finds anything: {there}")


def _worded(item: Item) -> str:
    times = f" ({item['count']} times)" if item["count"] > 1 else ""
    return f"{item['severity'].capitalize()}: {visible(item['text'])}{times}"


def _where(relay: Relay, item: Item) -> str:
    for name, page in (("signal_id", "signals"), ("position_id", "positions")):
        if item[name]:
            return f"See {relay.page(f'/admin/{page}/{item[name]}')}"
    return f"See {relay.page('/admin/attention')}"


# ── Numbers ─────────────────────────────────────────────────────────────────────────────────


def numbers(status: Found) -> Iterator[tuple[str, str]]:
    """A name and its words, a line each."""
    day = [f"{one['signals']} {_became(one)}" for one in status["last_24h"]]
    yield "24 hours", ", ".join(day) or "no signals"
    if status["dead_24h"]:
        yield "given up", f"{counted(status['dead_24h'], 'delivery', 'deliveries')} in 24 hours"
    yield "waiting", _backlog(status["backlog"])
    held = [f"{count} {state}" for state, count in status["positions"].items()]
    yield "positions", ", ".join(held) or "none"
    for one in status["destinations"]:
        yield "destination", _destination(one)
    yield "list", _looked(status["list"]["last_fetch"])
    sick = sum(1 for one in status["workers"] if one["failures_in_row"] >= SICK_AFTER)
    yield "workers", f"{len(status['workers'])}, {f'{sick} failing' if sick else 'all well'}"
    yield "version", _version(status)


def _became(one: Item) -> str:
    reason = one["reason"] if one["reason"] != one["status"] else None
    return f"{one['status']} ({reason.replace('_', ' ')})" if reason else one["status"]


def _backlog(found: Item) -> str:
    parts = [
        f"{found['undecided']} undecided",
        counted(found["unfinished"], "delivery", "deliveries"),
        f"{found['waiting']} for the list",
    ]
    oldest = max(found["undecided_for"] or 0, found["unfinished_for"] or 0)
    return ", ".join(parts) + (f"; the oldest since {_span(oldest)}" if oldest else "")


def _destination(one: Item) -> str:
    used = [
        f"{count} of {window['limit']} in {_span(window['seconds'])}"
        for count, window in zip(one["used"], one["windows"], strict=True)
    ]
    state = f"{one['state']}, dry run" if one["mode"] == "dry_run" else one["state"]
    return f"{visible(one['name'])}: {state}, {one['waiting']} waiting, sent {', '.join(used)}"


def _looked(last: Item | None) -> str:
    if last is None:
        return "Finviz was not asked yet"
    ago = datetime.now(UTC) - datetime.fromisoformat(last["at"])
    return f"Finviz, {duration(ago)} ago: {last['outcome']}, {visible(last['detail'] or '')}"


def _version(status: Found) -> str:
    commit = f" (revision {status['revision']})" if status.get("revision") else ""
    place = status["process"]
    return f"{status['version']}{commit}, process {place['number']} of {place['of']}"
