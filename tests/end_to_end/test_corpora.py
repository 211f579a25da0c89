"""The real alerts and pages of the shared corpus, through the running product."""

import json
from collections.abc import Generator
from datetime import datetime
from typing import Any

import pytest

from demo.finviz import Reply
from domain.screen import UNFILTERED
from domain.ticker import normalise
from tests.end_to_end.stage import (
    CALLER,
    ROOT,
    UPDATE_TOKEN,
    World,
    in_the_end,
    until,
    world,
)

SHARED = ROOT.parent / "shared" / "fixtures"
ALERTS, PAGES = SHARED / "tradingview", SHARED / "finviz"
WHOLE = "https://finviz.com/screener.ashx?v=111&o=-change&x={number}"
URL = "https://finviz.com/screener.ashx?v=111&f=ta_gap_u5&o=-change&x={number}"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not SHARED.exists(), reason="the shared corpus is not beside this checkout"),
]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Generator[World]:
    with world(tmp_path_factory.mktemp("corpora") / "relay", size=30, top_n=5) as stage:
        yield stage


def cases() -> list[dict[str, Any]]:
    return json.loads((ALERTS / "cases.json").read_text()) if SHARED.exists() else []


@pytest.mark.parametrize("case", cases(), ids=lambda case: case["file"])
def test_an_alert_is_read_as_expected(stage: World, case: dict[str, Any]) -> None:
    body = (ALERTS / case["file"]).read_bytes()
    kind = {"content-type": case["content_type"]}
    answer = in_the_end(lambda: stage.relay.post(body, **kind))
    assert answer.status_code < 500
    if case["invalid"]:
        assert answer.status_code in {400, 422}
        assert answer.json()["code"] == case["invalid"].partition(":")[0]
        kept = stage.relay.read(f"/api/signals/{answer.json()['signal_id']}")
        assert kept["verdict"]["status"] == "invalid"
        return
    assert answer.status_code in {200, 202}, answer.text
    read = stage.relay.read(f"/api/signals/{answer.json()['signal_id']}")
    expected = case["expect"]
    assert read["ticker"] == normalise(expected["ticker"])
    assert read["exchange"] == expected["exchange"]
    assert read["side"] == expected["side"]
    assert read["closes"] == expected["closes"]
    assert _price(read) == expected["price"]
    assert _time(read["sender_time"]) == _time(expected["time"])


def _price(read: dict[str, Any]) -> str | None:
    return read["price_text"] if read["price"] is not None else None


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def test_pages_become_the_list_or_leave_it_alone(stage: World) -> None:
    """Complete first pages become the list; everything else keeps it, with the right outcome."""
    expected: dict[str, Any] = json.loads((PAGES / "expected.json").read_text())
    pages = {name: e for name, e in expected.items() if "csv" not in e["kind"]}
    pages.pop("2023-06_v111_topgainers_p1_first5rows.html")
    good = {n: e for n, e in pages.items() if e["kind"] == "ok" and e["start"] == 1}
    bad = {n: e for n, e in pages.items() if e["kind"] not in {"ok", "empty"}}
    assert len(good) >= 8
    assert len(bad) >= 6
    for number, (name, entry) in enumerate(good.items()):
        whole = entry["total"] >= UNFILTERED
        look(stage, name, entry, (WHOLE if whole else URL).format(number=number))
        universe = stage.relay.read("/api/universe")
        assert universe["last_fetch"]["outcome"] == "ok", name
        assert [one["ticker"] for one in universe["tickers"]] == entry["tickers"], name
        assert universe["total"] == entry["total"], name
    kept = [one["ticker"] for one in stage.relay.read("/api/universe")["tickers"]]
    for name, entry in bad.items():
        look(stage, name, entry, stage.relay.read("/finviz/config")["url"])
        universe = stage.relay.read("/api/universe")
        assert universe["last_fetch"]["outcome"] == entry["kind"], name
        assert [one["ticker"] for one in universe["tickers"]] == kept, name
        assert universe["trust"] == "fresh", name


def test_an_empty_answer_is_a_list_when_seen_twice(stage: World) -> None:
    [(name, entry)] = [
        (n, e)
        for n, e in json.loads((PAGES / "expected.json").read_text()).items()
        if e["kind"] == "empty"
    ]
    stage.finviz.answer_with(None)
    change(stage, URL.format(number="full"))
    until(lambda: len(stage.relay.read("/api/universe")["tickers"]) > 0, 60, "a list to lose")
    look(stage, name, entry, URL.format(number="full"))
    universe = stage.relay.read("/api/universe")
    assert universe["last_fetch"]["outcome"] == "suspect"
    assert universe["tickers"]
    until(lambda: not stage.relay.read("/api/universe")["tickers"], 60, "the confirmed empty list")
    assert stage.relay.read("/api/universe")["trust"] == "fresh"


def change(stage: World, url: str) -> None:
    place, asked = f"{stage.relay.url}/finviz/config", {"url": url, "top_n": 5}
    answer = in_the_end(lambda: CALLER.post(place, json=asked | {"token": UPDATE_TOKEN}))
    assert answer.status_code == 200, answer.text


def look(stage: World, name: str, entry: dict[str, Any], url: str) -> None:
    """Let Finviz answer with this page from now on, and wait until it was looked at."""
    side = PAGES / f"{name.rpartition('.')[0]}.headers.json"
    said: dict[str, str | None] = {}
    if side.exists():
        said = json.loads(side.read_text()).get("headers", {})
    kept = {k.lower(): v for k, v in said.items() if v and k.lower() == "cf-mitigated"}
    reply = Reply(
        entry.get("status", 200),
        (PAGES / name).read_bytes(),
        {"content-type": "text/html", **kept},
    )
    before = stage.relay.read("/api/universe")["last_fetch"]["at"]
    stage.finviz.answer_with(reply)
    change(stage, url)
    until(
        lambda: stage.relay.read("/api/universe")["last_fetch"]["at"] > before,
        60,
        f"a look at {name}",
    )
