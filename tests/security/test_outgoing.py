"""H31, H26: what leaves is signed so that others can verify it; it is carried, never evaluated."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from domain.mapping import BodyMapping, Preset, mapped
from tests.domain.test_mapping import FACTS, SELL, TRADERSPOST
from tests.web.operating import ask, create, tell
from tests.web.stage import Parcel, Relay

# ── H31: signatures ─────────────────────────────────────────────────────────────────────────


def takes(parcel: Parcel, secret: str, body: bytes | None = None, **headers: str) -> bool:
    """Whether the published package of Standard Webhooks verifies it."""
    given = parcel.headers | {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        Webhook(secret).verify(parcel.body if body is None else body, given)
    except WebhookVerificationError:
        return False
    return True


async def arriving(house: Relay, ticker: str, name: str) -> Parcel:
    """The bytes of a buy as they came to the destination of this name."""
    answer = await house.post({"ticker": ticker, "action": "buy", "note": "ä\u2028 1.10", "n": 1.1})
    found = await house.settled(id := answer.json()["signal_id"])
    assert found["status"] == "delivered"
    parcels = [one for one in house.destination.parcels if one.id == id]
    (parcel,) = [one for one in parcels if one.headers.get("x-name") == name]
    return parcel


@pytest.mark.asyncio(loop_scope="module")
async def test_what_leaves_is_verified_by_either_key_of_a_rotation(
    shared: Relay, listed: str
) -> None:
    """Both keys while the old one still counts; exactly these bytes, this id, and this time."""
    one = await create(shared, headers={"X-Name": "signed"})
    old = one["signing_secret"]
    new = (await tell(shared, one, "rotate-secret", {"overlap": 3_600}))["signing_secret"]
    parcel = await arriving(shared, listed, "signed")
    assert [part[:3] for part in parcel.headers["webhook-signature"].split()] == ["v1,", "v1,"]
    for secret in (old, new):
        assert takes(parcel, secret)
        assert not takes(parcel, secret, parcel.body + b" ")
        assert not takes(parcel, secret, json.dumps(json.loads(parcel.body)).encode())
        assert not takes(parcel, secret, webhook_id="another")
        later = str(int(parcel.headers["webhook-timestamp"]) + 1)
        assert not takes(parcel, secret, webhook_timestamp=later)
    other = await create(shared, mode="dry_run")
    assert not takes(parcel, other["signing_secret"])
    await ask(shared, "POST", f"/api/destinations/{one['id']}/disable")


@pytest.mark.asyncio(loop_scope="module")
async def test_a_test_is_signed_like_an_order(shared: Relay) -> None:
    one = await create(shared, headers={"X-Name": "tested"})
    new = (await tell(shared, one, "rotate-secret", {"overlap": 3_600}))["signing_secret"]
    await tell(shared, one, "test")
    (parcel,) = [p for p in shared.destination.parcels if p.headers.get("x-name") == "tested"]
    assert takes(parcel, new)
    assert takes(parcel, one["signing_secret"])
    await ask(shared, "POST", f"/api/destinations/{one['id']}/disable")


# ── H26: a mapping is data ──────────────────────────────────────────────────────────────────

SYNTAX = (
    *("{{7*7}}", "{% import os %}", "{{ config }}", "{ticker}", "{0}", "{0.__class__}", "%s"),
    *("${7*7}", "#{7*7}", "<%= 7*7 %>", "$ticker", "/ticker", "#/ticker", "~0~1", "$.ticker"),
    *("{{strategy.order.action}}", "__import__('os')", "f'{1}'", "\\1", "\\g<0>", "%%", "{}"),
    *("{signal_id}", "{facts.ticker}", '","action":"sell', "}}", "\\u007b\\u007b7*7}}", "%(a)s"),
)
texts = (
    st.sampled_from(SYNTAX)
    | st.text(max_size=12)
    | st.tuples(st.text(max_size=4), st.sampled_from(SYNTAX), st.text(max_size=4)).map("".join)
)
names = texts.filter(lambda name: 1 <= len(name) <= 100 and name.isprintable())
constants = texts.filter(lambda text: not text or text.isprintable())


@example({"note": "{{7*7}}"}, "note", "{ticker}", "{{ticker}}")
@given(st.dictionaries(texts, texts, max_size=4), names, names, constants)
def test_no_text_of_an_alert_or_a_mapping_is_ever_evaluated(
    body: dict[str, str], old: str, new: str, constant: str
) -> None:
    """What comes out is what went in: the same values under names that are given, nothing else."""
    if old == new or "constant" in {old, new, *body}:
        return
    sent = _sent(body, BodyMapping(rename={old: new}, add={"constant": constant}))
    moved = {(new if key == old and new not in body else key): text for key, text in body.items()}
    ours = {"signal_id": FACTS.signal_id, "received_at": FACTS.received_at}
    wanted = moved | {key: text for key, text in ours.items() if key not in body}
    if {old, new} & ours.keys():
        return
    assert sent == wanted | {"constant": constant}


@given(st.dictionaries(texts, texts, max_size=4), st.sampled_from([FACTS, SELL]), texts)
def test_nothing_is_evaluated_for_traderspost_either(
    extra: dict[str, str], facts: Any, note: str
) -> None:
    """Its fields keep their text; what it does not know stays behind."""
    given = {"ticker": "BRK.B", "action": "buy", "quantity": note, "extras": {"note": note}}
    sent = _sent(extra | given, TRADERSPOST, facts)
    assert sent["ticker"] == "BRK.B"
    assert sent["action"] in {"buy", "exit", "add"}
    assert sent["extras"]["note"] == note
    assert sent.get("quantity", note) == note


def _sent(body: object, mapping: BodyMapping, facts: Any = FACTS) -> Any:
    return json.loads(mapped(json.dumps(body).encode(), mapping, facts))


def test_there_is_no_preset_that_holds_a_template() -> None:
    assert set(Preset) == {"as_received", "traderspost"}
