"""`run.py tail`: signals and deliveries as they happen, a line each, over restarts of the relay."""

import argparse
import json
import os
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias
from urllib.parse import quote

from launcher import asking
from launcher.asking import Relay, Reply, UnreachableError, answered
from launcher.terminal import Refusal, aside, say, visible
from launcher.websocket import HungUpError, Listening
from web.views.story import rest, sentence

Event: TypeAlias = Mapping[str, Any]

EPILOG = """\
examples: python run.py tail --ticker AAPL
          python run.py tail --json | jq -r 'select(.event == "delivery.dead") | .ticker'

It goes on by itself when the relay restarts, and misses nothing meanwhile. With --json, `cursor`
stands in a line after which --cursor can go on in another run.

exit codes: 1 no relay answers, or it does not take the token, 2 wrong setting or command,
130 ended by Ctrl-C, 141 nobody reads it any more, 143 ended by SIGTERM"""

QUIET = {"delivery.queued", "delivery.sending"}
"""What follows from the line before: shown with --all."""

WHY = {
    "slow": "they were not taken fast enough",
    "many": "too many came at once",
    "behind": "too much happened since the cursor",
    "cursor": "the cursor is none of this database's",
}

SILENCE = 40.0
"""Seconds without a word after which it counts as gone; the relay pings every 15."""

LEAST, MOST = 0.5, 10.0
"""Seconds until it is tried again: twice as long each time."""

TOO_MUCH = {"gate_version", "universe_version", "destination_version", "receipt"}
"""Of what an event tells, for one line; --json has all."""

REMEMBERED = 10_000


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the command line understands; it needs nothing but Python."""
    parser.description = "Follows what happens to signals and deliveries, until Ctrl-C."
    parser.epilog = EPILOG
    parser.add_argument("--json", action="store_true", help="each event as a line of JSON")
    parser.add_argument("--ticker", help="of this ticker alone, as the relay writes it")
    parser.add_argument("--source", help="of signals from this source alone")
    parser.add_argument("--all", action="store_true", help="every event there is")
    parser.add_argument("--cursor", help="everything since then")
    asking.add_options(parser)


def run_tail(options: argparse.Namespace) -> int:
    """Follow until Ctrl-C, which is a KeyboardInterrupt. Raises Refusal."""
    relay = Relay.of(options)
    names = Names(relay)
    following = Following(relay, options.cursor)
    for message in following.messages():
        if message["type"] == "reread":
            aside(f"Some events were left out: {WHY.get(message['why'], message['why'])}.")
        events = [one for one in message.get("events", ()) if _wanted(one, options, names)]
        for number, event in enumerate(events, start=1):
            last = number == len(events)
            _print(event, names, message["cursor"] if last else None, as_json=options.json)
    return 0


@dataclass(slots=True)
class Following:
    """The live feed from a cursor on, again whenever it breaks off."""

    relay: Relay
    cursor: str | None = None
    _failed: int = 0
    _ever: bool = False

    def messages(self) -> Iterator[Mapping[str, Any]]:
        """Raises Refusal where it cannot begin, or may not go on."""
        while True:
            try:
                yield from self._once()
            except UnreachableError as error:
                if not self._ever:
                    raise Refusal(str(error)) from None
                self._wait("The relay does not answer.")
            except HungUpError as error:
                restarts = error.code in {1001, 1006, 1012}
                self._wait("The relay restarts." if restarts else f"It hung up ({error.code}).")

    def _once(self) -> Iterator[Mapping[str, Any]]:
        query = f"?cursor={quote(self.cursor)}" if self.cursor else ""
        found = Listening.to(self.relay, f"/ws/live{query}", SILENCE)
        if isinstance(found, Reply):
            if found.status == 503 and self._ever:
                self._wait(visible(found.found["detail"]))
                return
            answered(self.relay, found, "type")
            return
        try:
            for message in found.messages():
                self._heard()
                self.cursor = message.get("cursor") or self.cursor
                yield message
        finally:
            found.close()

    def _heard(self) -> None:
        if self._failed:
            aside("It is back.")
        self._failed, self._ever = 0, True

    def _wait(self, words: str) -> None:
        if not self._failed:
            aside(f"{words} Waiting for it …")
        self._failed += 1
        longest = min(MOST, LEAST * 2 ** min(self._failed, 6))
        chance = os.urandom(1)[0] / 255  # so that not all who follow come at once
        time.sleep(LEAST + chance * (longest - LEAST))


@dataclass(slots=True)
class Names:
    """What an event leaves out: where its delivery goes, and whose signal it is about."""

    relay: Relay
    _destinations: dict[str, str] = field(default_factory=dict[str, str])
    _deliveries: OrderedDict[str, str] = field(default_factory=OrderedDict[str, str])
    _sources: OrderedDict[str, str] = field(default_factory=OrderedDict[str, str])

    def learn(self, event: Event) -> None:
        detail = event["detail"]
        if event["event"] == "signal.received" and event["signal_id"]:
            _keep(self._sources, event["signal_id"], str(detail.get("source")))
        elif event["event"] == "delivery.queued":
            name = self._destination(str(detail.get("destination_id")))
            _keep(self._deliveries, event["delivery_id"], name)

    def source(self, event: Event) -> str:
        id = event["signal_id"]
        if id and id not in self._sources:
            self._ask(id)
        return self._sources.get(id, "")

    def destination(self, event: Event) -> str:
        id = event["delivery_id"]
        if id and id not in self._deliveries and event["signal_id"]:
            self._ask(event["signal_id"])
        return self._deliveries.get(id, "")

    def _destination(self, id: str) -> str:
        if id not in self._destinations:
            for one in self._read("/api/destinations", "items").get("items", ()):
                self._destinations[one["id"]] = one["name"]
        return self._destinations.setdefault(id, "")

    def _ask(self, signal_id: str) -> None:
        found = self._read(f"/api/signals/{signal_id}", "deliveries")
        _keep(self._sources, signal_id, str(found.get("source", "")))
        for one in found.get("deliveries", ()):
            _keep(self._deliveries, one["id"], one["destination"])

    def _read(self, path: str, expected: str) -> Mapping[str, Any]:
        """Nothing where it cannot be had just now: a line without a name is still a line."""
        try:
            reply = self.relay.ask("GET", path)
        except UnreachableError:
            return {}
        return reply.found if expected in reply.found else {}


def _keep(names: OrderedDict[str, str], id: str, name: str) -> None:
    names[id] = name
    if len(names) > REMEMBERED:
        names.popitem(last=False)


def _wanted(event: Event, options: argparse.Namespace, names: Names) -> bool:
    names.learn(event)
    if not options.all and (
        event["event"] in QUIET or not event["event"].startswith(("signal.", "delivery."))
    ):
        return False
    if options.ticker and event["ticker"] != options.ticker.upper():
        return False
    return not options.source or names.source(event) == options.source


def _print(event: Event, names: Names, cursor: str | None, *, as_json: bool) -> None:
    if as_json:
        say(json.dumps({**event, "cursor": cursor}))
        return
    detail = event["detail"]
    words = sentence(event["event"], detail, names.destination(event))
    short = {name: value for name, value in detail.items() if name not in TOO_MUCH}
    if event["event"] == "delivery.delivered":
        short.pop("outcome", None)  # it is said
    more = rest(event["event"], short)
    at = datetime.fromisoformat(event["at"]).astimezone()
    what = f"{event['ticker'] or '':<8} {event['side'] or '':<4}"
    say(visible(f"{at:%H:%M:%S}  {what}  {words}" + (f" ({more})" if more else "")))
