"""The activity log: every change with who, from where, what it was and became; and its export."""

import csv
import io
import json
from typing import Any
from uuid import uuid4

import httpx
import pytest

from domain.csv_cell import plain
from tests.web.operating import CANARY, HEADERS, HOOK, ask, change, create, signed_in, tell
from tests.web.stage import WEBHOOK_TOKEN, Relay, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

API = "/api/activity"


async def log(relay: Relay, **given: str | int) -> list[dict[str, Any]]:
    return (await relay.read(f"{API}?{httpx.QueryParams(given)}"))["items"]


async def last(relay: Relay, action: str) -> dict[str, Any]:
    (found,) = await log(relay, action=action, limit=1)
    return found


async def test_a_change_tells_who_from_where_and_from_what_to_what(shared: Relay) -> None:
    await ask(shared, "PUT", "/api/rules", {"every": {"max_positions": 6}})
    answer = await ask(shared, "PUT", "/api/rules", {"every": {"max_positions": 7}, "reason": "a"})
    assert answer.status_code == 200
    found = await last(shared, "rules.changed")
    assert (found["who"], found["from"]) == ("finviz update token", "127.0.0.1")
    assert (found["was"]["every"]["max_positions"], found["reason"]) == (6, "a")
    assert found["becomes"]["every"]["max_positions"] == 7
    assert found["subject"]["kind"] == "rules"
    assert found["detail"] == {"version": answer.json()["version"]}


async def test_a_session_has_its_origin_too(shared: Relay) -> None:
    cookie = await signed_in(shared)
    assert (await last(shared, "session.begun"))["from"] == "127.0.0.1"
    body = {"sources": {"webhook": {"max_positions": 4}}}
    answer = await shared.http.put("/api/rules", json=body, headers=cookie)
    assert answer.status_code == 200
    found = await last(shared, "rules.changed")
    assert (found["who"], found["from"]) == ("admin session", "127.0.0.1")


async def test_engines_act_from_nowhere(shared: Relay, listed: str) -> None:
    answer = await shared.post({"ticker": listed, "action": "buy"})

    async def is_judged() -> bool:
        signal = await shared.read(f"/api/signals/{answer.json()['signal_id']}")
        return signal["status"] != "received"

    await until(is_judged, "a verdict")
    origins = await shared.rows(
        "SELECT DISTINCT origin FROM events WHERE event LIKE 'signal.%' OR event LIKE 'delivery.%'"
    )
    assert [row.origin for row in origins] == [None]


async def test_a_destination_is_told_by_what_differs_and_never_by_its_secrets(
    shared: Relay,
) -> None:
    one = await create(shared, headers=HEADERS)
    made = await last(shared, "destination.created")
    assert made["was"] is None
    assert made["becomes"]["name"] == one["name"] == made["subject"]["name"]
    assert made["becomes"]["headers"] == ["x-api-key"]
    await change(shared, one, windows="9/60s", url=f"{HOOK}-another")
    found = await last(shared, "destination.changed")
    assert (found["was"]["windows"], found["becomes"]["windows"]) == ("60/60s", "9/60s")
    assert set(found["becomes"]) == {"windows", "url"}
    await tell(shared, one, "rotate-secret", {})
    assert (await last(shared, "destination.key_rotated"))["becomes"] == {"key": "rotated"}
    await tell(shared, one, "pause")
    paused = await last(shared, "destination.paused")
    assert (paused["was"], paused["becomes"]) == ("enabled", "paused")
    whole = await shared.get(f"{API}/export?format=jsonl")
    assert CANARY not in whole.text
    assert CANARY not in json.dumps(await log(shared, limit=500))


async def test_every_change_of_the_lookout_has_two_sides(shared: Relay) -> None:
    await ask(shared, "POST", "/api/lookout/pause", {"reason": "a look"})
    await ask(shared, "POST", "/api/lookout/resume")
    paused, resumed = [await last(shared, f"lookout.{word}") for word in ("paused", "resumed")]
    assert (paused["was"], paused["becomes"], paused["reason"]) == ("asking", "paused", "a look")
    assert (resumed["was"]["reason"], resumed["becomes"]) == ("a look", "asking")


async def test_it_is_searched_by_each_of_its_filters(shared: Relay) -> None:
    word, one = uuid4().hex, await create(shared)
    await ask(shared, "PATCH", "/api/rules", {"every": {"max_positions": 9}, "reason": word})
    (found,) = await log(shared, text=word.upper())
    assert found["reason"] == word
    assert await log(shared, text=word, who="UPDATE")
    assert await log(shared, text=word, who="nobody") == []
    assert await log(shared, text=word, action="rules.")
    assert await log(shared, text=word, action="screen") == []
    assert await log(shared, text=word, since=found["at"])
    assert await log(shared, text=word, until=found["at"]) == []
    of_one = await log(shared, subject=one["id"])
    assert [item["action"] for item in of_one] == ["destination.created"]
    assert await log(shared, text=word, ticker="AAPL") == []
    assert await log(shared, text="100%_", action="rules") == []


async def test_pages_follow_one_another_and_make_the_whole(shared: Relay) -> None:
    for number in range(5):
        await ask(shared, "PATCH", "/api/rules", {"every": {"max_positions": 20 + number}})
    whole = await log(shared, action="rules.", limit=500)
    found: list[dict[str, Any]] = []
    after = ""
    while True:
        page = await shared.read(f"{API}?action=rules.&limit=2{after}")
        found += page["items"]
        if page["next"] is None:
            break
        after = f"&cursor={page['next']}"
    assert found == whole
    assert [item["becomes"]["every"]["max_positions"] for item in found[:5]] == [*range(24, 19, -1)]


async def test_an_export_holds_the_same_and_is_safe_in_a_spreadsheet(
    shared: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("database.activity.CHUNK", 2)
    evil = "=HYPERLINK(1)"
    for number in range(5):
        body = {"every": {"max_positions": 30 + number}, "reason": evil}
        assert (await ask(shared, "PATCH", "/api/rules", body)).status_code == 200
    items = await log(shared, action="rules.", limit=500)
    jsonl = await shared.get(f"{API}/export?format=jsonl&action=rules.")
    assert jsonl.headers["content-type"].startswith("application/x-ndjson")
    lines = [json.loads(line) for line in jsonl.text.splitlines()]
    assert [(one["reason"], one["becomes"]) for one in lines] == [
        (item["reason"], item["becomes"]) for item in items
    ]
    answer = await shared.get(f"{API}/export?format=csv&action=rules.")
    assert 'filename="activity.csv"' in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert rows[0]["reason"] == f"'{evil}"
    assert plain(rows[0]["reason"]) == evil
    assert [json.loads(row["becomes"]) for row in rows] == [item["becomes"] for item in items]
    assert (rows[0]["who"], rows[0]["from"]) == ("finviz update token", "127.0.0.1")
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row.values())


@pytest.mark.parametrize(
    ("query", "field"),
    [
        *(("limit=0", "limit"), ("since=yesterday", "since"), ("cursor=x", "cursor")),
        *(("subject=5", "subject"), ("action=A;", "action"), ("ticker=no ticker", "ticker")),
    ],
)
async def test_what_is_no_filter_is_refused(shared: Relay, query: str, field: str) -> None:
    answer = await shared.get(f"{API}?{query}")
    assert (answer.status_code, answer.json()["field"]) == (400, field)
    assert (await shared.get(f"{API}/export?format=xlsx")).status_code == 400


async def test_who_was_refused_is_on_record_by_the_door_and_not_by_what_was_sent(
    shared: Relay,
) -> None:
    await ask(shared, "GET", "/api/signals/00000000-0000-7000-8000-000000000000", token="forged")
    found = await last(shared, "access.refused")
    assert (found["who"], found["from"]) == ("nobody", "127.0.0.1")
    assert "forged" not in json.dumps(found)
    assert len(await log(shared, action="access.refused")) == 1


async def test_who_may_only_send_alerts_does_not_read_it(shared: Relay) -> None:
    for path in (API, f"{API}/export"):
        assert (await ask(shared, "GET", path, token=WEBHOOK_TOKEN)).status_code == 401
