"""What is fuzzed of alerts: all that happens to a body before it is journaled, and is shown of it.

The first byte of an input chooses its content type, the rest is the body.
"""

import json
import random  # noqa: TID251  libFuzzer hands in the seed
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count, product
from types import SimpleNamespace
from typing import Any, cast

from database.journal import Entry
from database.vault import Vault
from domain.alert import Invalid, parse
from domain.body import cut_token, has_secrets, masked, outgoing
from domain.parsed import Parsed
from domain.signal import Side
from domain.source import Source
from tests.fuzz.words import HOSTILE, NAMES, VALUES
from web.dependencies import State
from web.posted import Posted, taken

TYPES = ("", "application/json", "text/plain", "application/x-www-form-urlencoded")
TIME_FIELDS = (None, "time", "sent_at", "bar.time")
OWN = "own-token-of-this-relay-0123456789"
SECRETS = ("secret", "token", "password", "api_key", "passphrase", "webhook_token")
MOST_SECONDS = 0.05
KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
NOW = datetime(2026, 3, 17, 17, 30, tzinfo=UTC)
TEXTS = ("ticker", "exchange", "symbol", "price_text", "content_type")


def is_own(token: str) -> bool:
    return token == OWN


def _state() -> State:
    """As much of a relay as a body is journaled with."""
    numbers = count()

    def entropy(size: int) -> bytes:
        return next(numbers).to_bytes(size, "big")

    return cast(
        "State",
        {
            "clock": lambda: NOW,
            "chance": entropy,
            "vault": Vault.from_key(KEY),
            "keyring": SimpleNamespace(is_own=is_own),
            "rules": SimpleNamespace(
                lifetimes=dict.fromkeys(Side, timedelta(minutes=1)),
                dedupe_window=timedelta(seconds=60),
            ),
        },
    )


class Alerts:
    """Reads a body as the webhook does; what comes out has to be fit for the journal."""

    def __init__(self) -> None:
        self._state = _state()

    def most_seconds(self, seeds: list[bytes]) -> float:  # noqa: ARG002  the same for all
        return MOST_SECONDS

    def read(self, data: bytes) -> str:
        choice, body = data[0] if data else 0, data[1:]
        posted = Posted(body, TYPES[choice % 4], None, None)
        source = Source(name="fuzz", time_field=TIME_FIELDS[choice // 4 % 4])
        parsed = parse(body, posted.content_type)
        reading, entry = taken(self._state, source, posted, parsed)
        check_entry(entry)
        check_body(body, parsed, forwarded=not isinstance(reading, Invalid))
        if isinstance(reading, Invalid):
            assert reading == Invalid.because(reading.code), "details are ours alone"
            return str(reading.code)
        return f"{reading.side} {'closes' if reading.closes else 'opens'}"

    def mutated(self, data: bytes, most: int, seed: int) -> bytes:
        """Another value or name somewhere in the object; anything else gets a word put in."""
        chance = random.Random(seed)
        with suppress(ValueError, RecursionError):
            value = json.loads(data[1:])
            if isinstance(value, dict) and len(data) < most:
                return data[:1] + json.dumps(
                    _changed(cast("dict[str, Any]", value), chance)
                ).encode("utf-8", "surrogatepass")
        place = chance.randrange(len(data) + 1)
        return data[:place] + chance.choice(HOSTILE) + data[place:]


def _changed(fields: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """With one member more, or less, or another one; now and then inside of a member."""
    inner = [name for name, value in fields.items() if isinstance(value, dict)]
    if inner and chance.random() < 0.5:
        name = chance.choice(inner)
        return fields | {name: _changed(fields[name], chance)}
    name = chance.choice([*fields, *NAMES])
    if chance.random() < 0.2:
        return {one: value for one, value in fields.items() if one != name}
    values = (*VALUES, OWN, {"action": "sell"}, fields, json.dumps(fields))
    return fields | {name: chance.choice(values)}


def check_entry(entry: Entry) -> None:
    """What PostgreSQL could not take is an answer 500 to a money order."""
    for name in TEXTS:
        text = getattr(entry, name)
        assert text is None or ("\0" not in text and text.encode()), name
    assert len(entry.content_type) < 200
    assert entry.price is None or (entry.price > 0 and abs(entry.price.adjusted()) < 200)
    assert all(time is None or time.tzinfo is UTC for time in (entry.sender_time, entry.sent_at))
    assert (entry.invalid is None) is (entry.ticker is not None)
    assert not entry.invalid or entry.body_sealed, "what cannot be read may hold anything"


def check_body(body: bytes, parsed: Parsed | Invalid, *, forwarded: bool) -> None:
    """Ours is cut, other people's secrets are masked, and an object stays one."""
    shown = masked(body)
    if isinstance(parsed, Invalid):
        return  # it is sealed as it is: nobody looks for a token in it
    rest, found = cut_token(body, is_own)
    if parsed.fields is None:
        return
    fields: Mapping[str, Any] = parsed.fields
    if found:
        assert cut_token(rest, is_own) == (rest, False), "all of it at once"
        kept = parse(rest, TYPES[3])
        fields = kept.fields if isinstance(kept, Parsed) and kept.fields else {}
    assert OWN not in (fields.get("token"), fields.get("secret"))
    check_masked(parsed, shown)
    if forwarded and parsed.text.startswith("{"):
        sent = outgoing(rest, signal_id="id", received_at="now")
        members = json.loads(sent.decode("utf-8-sig"), parse_int=str)
        assert {"signal_id", "received_at"} <= set(members)


def check_masked(parsed: Parsed, shown: str) -> None:
    """A value under the name of a secret, when it stands there once and as it is."""
    for value in _secrets(cast("Mapping[str, Any]", parsed.fields)):
        if parsed.text.count(value) == 1:
            assert value not in shown, "a secret is shown"
            assert has_secrets(parsed), "a body with a secret is not sealed"


def _secrets(fields: Mapping[str, Any]) -> list[str]:
    values = (fields.get(name) for name in SECRETS)
    return [one for one in values if type(one) is str and len(one) >= 12 and one.isalnum()]


def seeds() -> list[bytes]:
    """Alerts as senders make them, under every content type, with a time field or none."""
    bodies = [json.dumps(fields).encode() for fields in ALERTS] + [text.encode() for text in OTHERS]
    return [bytes([choice]) + body for choice, body in product((0, 3, 7), bodies)]


ALERTS: tuple[dict[str, Any], ...] = (
    {"ticker": "AAPL", "action": "buy"},
    {"ticker": "NYSE:BRK.B", "action": "sell", "price": 195.5, "time": "2026-03-17T17:30:00Z"},
    {"symbol": "MSFT", "side": "exit", "token": OWN, "password": "abcdefghijklmnop"},
    {"strategy": {"order": {"action": "sell"}, "market_position": "flat"}, "ticker": "A"},
    {"message": '{"ticker":"A","action":"buy","strategy":{"position_size":"0"}}'},
    {"message": "My (14, 3) strategy: order buy @ 1 filled on A. New strategy position is 0"},
    {"ticker": "A", "action": "buy", "timenow": 1773768600000, "id": "evt-17", "secret": OWN},
    {"ticker": "{{ticker}}", "action": "{{strategy.order.action}}", "api_key": "zyxwvutsrqponmlk"},
)
OTHERS = (
    "ticker=NASDAQ%3AAAPL&action=sell&price=195.5&token=x&note=a+b",
    f"token={OWN}&ticker=A&side=buy&secret=abcdefghijklmnop",
    "My strategy: order sell @ 33.33 filled on SOLUSDT. New strategy position is -100",
    '{"ticker":"A","action":"buy",}',
    '\ufeff {"ticker":"A","ticker":"B"}',
    '[{"ticker":"A"}]',
)
WORDS = tuple(
    json.dumps(one).encode() for one in (*NAMES, *(v for v in VALUES if isinstance(v, str)), OWN)
)
TARGET = Alerts()
