"""What-if over HTTP: what flips, what is refused, and that nothing is written."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from launcher import whatif as command
from tests.web.stage import TOP_N, UPDATE_TOKEN, WEBHOOK_TOKEN, Relay
from web import whatif

pytestmark = pytest.mark.asyncio(loop_scope="module")

COUNTS = [
    *(
        f"SELECT count(*) FROM {table}"
        for table in ("signals", "deliveries", "positions", "universes", "screens")
    ),
    # The keeper tells once, some time after the start, that the list is trusted.
    "SELECT count(*) FROM events WHERE event NOT LIKE 'trust.%'",
]


async def now(relay: Relay) -> datetime:
    ((found,),) = await relay.rows("SELECT clock_timestamp()")
    return found


async def ask(relay: Relay, asked: Mapping[str, object], token: str = UPDATE_TOKEN) -> Any:
    bearer = {"authorization": f"Bearer {token}"}
    return await relay.http.post("/api/whatif", json=dict(asked), headers=bearer)


async def found(relay: Relay, since: datetime, **asked: object) -> Any:
    answer = await ask(relay, {"from": since.isoformat(), **asked})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def decided(relay: Relay, *alerts: tuple[str, str]) -> list[Any]:
    """One after the other: a sell that overtakes its buy is told of some time later."""
    lives: list[Any] = []
    for ticker, action in alerts:
        posted = await relay.post({"ticker": ticker, "action": action})
        lives.append(await relay.settled(posted.json()["signal_id"]))
    return lives


async def test_only_what_is_asked_flips_and_nothing_is_written(shared: Relay) -> None:
    since = await now(shared)
    ticker = shared.finviz.market[TOP_N - 1].ticker
    await decided(shared, (ticker, "buy"), ("NOTTHERE", "buy"), (ticker, "sell"))
    before = [await shared.rows(count) for count in COUNTS]
    as_it_was = await found(shared, since)
    assert as_it_was["flips"] == as_it_was["notes"] == []
    assert as_it_was["judged"] == 3
    assert as_it_was["recorded"] == {"approved": 2, "rejected": 1, "expired": 0}
    assert as_it_was["would"] == as_it_was["recorded"]
    fewer = await found(shared, since, top_n=TOP_N - 1, wait=0)
    bought, sold = fewer["flips"]
    assert fewer["would"] == {"approved": 0, "rejected": 3, "expired": 0}
    assert [bought["ticker"], bought["side"], bought["was"]["reason"]] == [ticker, "buy", None]
    assert bought["was"]["rank"] == bought["would"]["rank"] == TOP_N
    assert bought["would"] | {"version": 0} == {
        "status": "rejected",
        "reason": "not_in_list",
        "rank": TOP_N,
        "cutoff": TOP_N - 1,
        "version": 0,
        "waited_sec": 0,
    }
    assert sold["would"]["reason"] == "no_position"
    assert fewer["settings"]["top_n"] == TOP_N - 1
    assert fewer["settings"]["list_max_age"] is None
    assert [await shared.rows(count) for count in COUNTS] == before


async def test_other_rules_are_asked_for_as_they_are_set(shared: Relay, listed: str) -> None:
    since = await now(shared)
    await decided(shared, (listed, "buy"))
    rules = {"every": {"refused": [f"NASDAQ:{listed.lower()}"]}}
    answer = await found(shared, since, rules=rules)
    (flip,) = answer["flips"]
    assert (flip["was"]["status"], flip["would"]["reason"]) == ("approved", "refused_ticker")
    assert answer["settings"]["rules"]["every"]["refused"] == [listed]
    assert (await found(shared, since, rules={}))["flips"] == []
    cases: dict[str, dict[str, Any]] = {
        "rules.every.refused.0": {"every": {"refused": ["no ticker"]}},
        "rules.sources.nobody": {"sources": {"nobody": {}}},
    }
    for field, wrong in cases.items():
        refused = await ask(shared, {"from": since.isoformat(), "rules": wrong})
        assert (refused.status_code, refused.json()["field"]) == (400, field)
    assert (await found(shared, since))["settings"]["rules"] is None


async def test_lives_are_measured_from_those_of_today(shared: Relay, listed: str) -> None:
    since = await now(shared)
    await decided(shared, (listed, "buy"))
    (flip,) = (await found(shared, since, buy_ttl=1e-6))["flips"]
    assert (flip["would"]["status"], flip["would"]["reason"]) == ("expired", "expired")
    assert (await found(shared, since, buy_ttl=86_400))["flips"] == []


async def test_a_limit_says_how_many_more_there_are(shared: Relay, listed: str) -> None:
    since = await now(shared)
    await decided(shared, (listed, "buy"), (listed, "sell"))
    answer = await found(shared, since, list_max_age=1, buy_ttl=1e-6, limit=1)
    assert (len(answer["flips"]), answer["more"]) == (1, 1)
    assert command.summary(answer) == (
        "2 of 2 verdicts would flip: 1 approved → expired, the others not listed."
    )


async def test_the_command_prints_what_the_relay_answers(
    shared: Relay, listed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    since = await now(shared)
    await decided(shared, (listed, "buy"))
    command.show(await found(shared, since, buy_ttl=1e-6, top_n=999))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["received", "(UTC)", "ticker", "side", "it", "was;", "would", "be"]
    assert f"{listed}" in lines[1]
    assert "would be expired (expired), rank" in lines[1]
    assert lines[2] == "1 of 1 verdicts would flip: 1 approved → expired."


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({}, "from"),
        ({"from": "yesterday"}, "from"),
        ({"from": "2026-11-20T14:30:00"}, "from"),
        ({"from": "2999-01-01T00:00:00Z"}, "from"),
        ({"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "from"),
        ({"from": "2026-01-01T00:00:00Z", "to": "2026-02-01T00:00:01Z"}, "from"),
        ({"top_n": 0}, "top_n"),
        ({"top_n": "20"}, "top_n"),
        ({"margin": -1}, "margin"),
        ({"wait": 3601}, "wait"),
        ({"list_max_age": 0}, "list_max_age"),
        ({"buy_ttl": 0}, "buy_ttl"),
        ({"sell_ttl": 90_000}, "sell_ttl"),
        ({"sell_policy": "never"}, "sell_policy"),
        ({"rules": {"every": {"max_positions": -1}}}, "rules.every.max_positions"),
        ({"limit": 0}, "limit"),
        ({"topn": 5}, "topn"),
    ],
)
async def test_what_cannot_be_is_refused_by_its_name(
    shared: Relay, asked: dict[str, object], field: str
) -> None:
    since = {} if field == "from" else {"from": "2026-01-01T00:00:00Z"}
    answer = await ask(shared, {**since, **asked})
    assert (answer.status_code, answer.json()["field"]) == (400, field)


async def test_one_is_worked_out_at_a_time(shared: Relay) -> None:
    since = await now(shared) - timedelta(minutes=1)
    async with whatif.ONE_AT_A_TIME:
        answer = await ask(shared, {"from": since.isoformat()})
    assert (answer.status_code, answer.json()["code"]) == (429, "busy")
    await found(shared, since)


async def test_it_is_for_readers(shared: Relay) -> None:
    answer = await ask(shared, {"from": "2026-11-20T14:30:00Z"}, WEBHOOK_TOKEN)
    assert answer.status_code == 401


async def test_too_much_names_the_bound(shared: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    await decided(shared, ("NOTTHERE", "sell"))
    monkeypatch.setattr("database.past.MOST_SIGNALS", 0)
    since = await now(shared) - timedelta(hours=1)
    answer = await ask(shared, {"from": since.isoformat()})
    assert (answer.status_code, answer.json()["code"]) == (400, "too_much")
    assert "at most 0 signals" in answer.json()["detail"]
