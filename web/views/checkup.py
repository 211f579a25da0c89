"""How the installation is, check by check: what was found, and what to do about it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from database.rehearsals import Checkup
from database.statistics import Standing
from domain.breaker import BreakerState
from domain.destination import DestinationState, Mode
from domain.universe import Trust
from web.views.lists import ListView
from web.views.words import counted, duration

OK, WARNING, FAILS = "ok", "warning", "fails"

CLOCK_WARNING, CLOCK_FAILS = timedelta(seconds=2), timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One look at the installation: ``state`` is ok, warning or fails; ``mends`` is what to do."""

    name: str
    state: str
    words: str
    mends: str = ""


def sorted_checks(every: Sequence[Check]) -> list[Check]:
    """What fails first, then warnings."""
    return sorted(every, key=lambda one: (FAILS, WARNING, OK).index(one.state))


def summary(every: Sequence[Check]) -> str:
    fails, warns = (sum(one.state == state for one in every) for state in (FAILS, WARNING))
    if not fails and not warns:
        return "All checks are well."
    words = [f"{len(every) - fails - warns} of {len(every)} checks are well"]
    words += [f"{fails} {'fails' if fails == 1 else 'fail'}"] if fails else []
    words += [counted(warns, "warning", "warnings")] if warns else []
    return f"{', '.join(words)}."


def address(public_url: str | None) -> Check:
    """TradingView sends to ports 80 and 443 only (43000529348)."""
    name = "Address"
    if public_url is None:
        words = "PUBLIC_URL is not set: from here nobody knows whether TradingView can reach us."
        mends = "Put a reverse proxy with https in front, and set PUBLIC_URL to its address."
        return Check(name=name, state=WARNING, words=words, mends=mends)
    parts = urlsplit(public_url)
    if parts.scheme != "https":
        words = "PUBLIC_URL is not https: tokens in its addresses can be read on their way."
        mends = "Serve it by https, and set PUBLIC_URL to that."
        return Check(name=name, state=FAILS, words=words, mends=mends)
    if parts.port not in {None, 443}:
        words = f"PUBLIC_URL names port {parts.port}: TradingView sends to 443 (and 80) only."
        mends = "Serve it on port 443, and set PUBLIC_URL without a port."
        return Check(name=name, state=FAILS, words=words, mends=mends)
    return Check(
        name=name, state=OK, words=f"{public_url}: https on port 443, as TradingView needs."
    )


def token(*, open_ingress: bool) -> Check:
    if open_ingress:
        words = "Alerts are taken from anybody on this machine, without a token."
        mends = "Unset ALLOW_UNAUTHENTICATED_INGRESS."
        return Check(name="Token", state=WARNING, words=words, mends=mends)
    return Check(name="Token", state=OK, words="Alerts need a token; weak ones do not start.")


def alerts(database: Checkup) -> Check:
    last = database.last_alert
    if last is None:
        mends = "Send one, or have TradingView send one: the messages are above."
        return Check(name="Alerts", state=WARNING, words="None came yet.", mends=mends)
    ago = duration(database.now - last)
    return Check(name="Alerts", state=OK, words=f"The last one came {ago} ago.")


def database(one: Checkup) -> Check:
    words = f"PostgreSQL {one.version.split()[0]}"
    if not one.durable:
        words += " could lose acknowledged alerts in a crash."
        mends = "Switch fsync, full_page_writes and synchronous_commit on."
        return Check(name="Database", state=FAILS, words=words, mends=mends)
    return Check(name="Database", state=OK, words=f"{words}: a commit survives a crash.")


def clock(asked: datetime, there: datetime, answered: datetime) -> Check:
    """Our clock around the question against the database's, as near as that took."""
    apart = max(asked - there, there - answered, timedelta(0))
    state = OK if apart <= CLOCK_WARNING else WARNING if apart <= CLOCK_FAILS else FAILS
    if state == OK:
        near = max(answered - asked, apart) / timedelta(milliseconds=1)
        words = f"This machine and the database agree (within {near:.0f} ms)."
        return Check(name="Clock", state=OK, words=words)
    words = f"This machine and the database are {apart / timedelta(seconds=1):.1f} s apart."
    mends = "Have both follow a time server. Ages and lives count on the database's clock."
    return Check(name="Clock", state=state, words=words, mends=mends)


def listing(listed: ListView) -> Check:
    if listed.trust == Trust.FRESH:
        words = f"Fresh, {listed.age} old; the last look: {listed.outcome}."
        return Check(name="List", state=OK, words=words)
    words = f"{listed.trust.capitalize()}: nothing is bought. The last look: {listed.outcome}."
    return Check(name="List", state=FAILS, words=words, mends=listed.detail)


def places(standings: Sequence[Standing]) -> Iterator[Check]:
    if not standings:
        mends = "Add one on the page of destinations, or set DEST_WEBHOOK_URL."
        yield Check(name="Destinations", state=FAILS, words="There is none.", mends=mends)
    for one in standings:
        state, words, mends = _destination(one)
        yield Check(name=f"Destination {one.name}", state=state, words=words, mends=mends)


def _destination(one: Standing) -> tuple[str, str, str]:
    if one.state == DestinationState.DISABLED:
        return WARNING, "Disabled: it gets no new buys.", "Enable it, if it should."
    if one.state == DestinationState.PAUSED:
        return WARNING, "Paused: what is approved waits.", "Resume it, if it should get it."
    if one.breaker != BreakerState.CLOSED:
        return FAILS, f"It fails: {one.breaker_cause or 'it is being tried'}.", "Look there."
    if one.mode == Mode.DRY_RUN:
        return WARNING, "In a dry run: nothing leaves.", "Make it live when you trust it."
    return OK, "Enabled, live, and nothing is wrong with it that we know of.", ""


def workers(sick: Sequence[str]) -> Iterator[Check]:
    if not sick:
        yield Check(name="Workers", state=OK, words="All of them work.")
    for words in sick:
        yield Check(name="Workers", state=FAILS, words=words, mends="The log says why.")
