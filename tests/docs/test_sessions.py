"""Every command and snippet of every document, typed in its order against a real relay."""

import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio

from demo.finviz import Listing
from tests.docs.blocks import DOCUMENTS, ROOT, Block, Fate, blocks_of
from tests.docs.session import Done, NotHereError, Session, session
from tests.pages.conftest import House
from tests.web.stage import ADMIN_TOKEN, UPDATE_TOKEN, WEBHOOK_TOKEN, cloned, relay, until

TOKENS = {
    "WEBHOOK_TOKEN": WEBHOOK_TOKEN,
    "FINVIZ_UPDATE_TOKEN": UPDATE_TOKEN,
    "ADMIN_TOKEN": ADMIN_TOKEN,
}
LISTED = ("AAPL", "BRK-B", "DMBR", "KXM", "ZQW")
"""Tickers of the examples: best in the list."""
FREE = {
    "refused",
    "fields",
    "today",
    "verdicts",
    "recorded",
    "would",
    "signing_secrets",
    "detail",
    "sources",
}
"""Members whose own members are data."""
KINDS = (
    "signals",
    "deliveries?state=held",
    "destinations",
    "screens",
    "positions",
    "batches",
    "channels",
)
PAGES = [path for path in DOCUMENTS if any(block.fate is Fate.SESSION for block in blocks_of(path))]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def house(template: str) -> AsyncGenerator[House]:
    """A relay with a past: what was bought, what was turned away, what is held."""
    changes: dict[str, Any] = {"dest_webhook_rate_limiting_enabled": True}
    async with cloned(template) as url, relay(url, **changes) as one:
        house = House(one)
        await house.open()
        await lived_in(house)
        yield house
        await house.close()


async def lived_in(house: House) -> None:
    one, market = house.relay, house.relay.finviz.market
    best = max(listing.change for listing in market)
    market[:0] = [replace(market[0], ticker=name, change=best) for name in LISTED]
    assert isinstance(market[0], Listing)
    await asked(house, "POST", "/api/universe/refresh")

    async def is_listed() -> bool:
        return any(row["ticker"] == "DMBR" for row in (await one.read("/api/universe"))["tickers"])

    await until(is_listed, "the list of the examples", 30)
    for body in ({"ticker": "DMBR", "action": "buy"}, {"ticker": "ZZZZ", "action": "buy"}):
        await one.settled((await one.post(body)).json()["signal_id"])
    await asked(house, "POST", "/sell/individual", {"ticker": "DMBR"})
    (main,) = (await one.read("/api/destinations"))["items"]
    for order in ("pause", "resume"):
        await asked(house, "POST", f"/api/destinations/{main['id']}/{order}")
    await hold_one(house)
    channel = {"name": "to test", "kind": "discord", "url": "https://discord.com/api/webhooks/1/x"}
    await asked(house, "POST", "/api/channels", channel)


async def hold_one(house: House) -> None:
    """A delivery whose outcome is not known, at a destination of its own."""
    one = house.relay
    address, guarantee = "https://broker.example/a-secret", "at_most_once"
    await asked(
        house,
        "POST",
        "/api/destinations",
        {"name": "second", "url": address, "guarantee": guarantee},
    )
    one.destination.status = 500
    await one.post({"ticker": "KXM", "action": "buy"})

    async def is_held() -> bool:
        return bool((await one.read("/api/deliveries?state=held"))["items"])

    await until(is_held, "a held delivery", 30)
    one.destination.status = 200


async def lose_a_sell(house: House, ticker: str) -> None:
    """One that the destination refused for good, and that can be sent once more."""
    preview = {"filter": {"state": "dead", "side": "sell"}, "preview": True}
    if (await asked(house, "POST", "/api/signals/replay", preview))["would"]:
        return
    await asked(house, "POST", "/api/positions", {"ticker": ticker})
    house.relay.destination.status = 404
    sent = await house.relay.post({"ticker": ticker, "action": "sell"})
    await house.relay.settled(sent.json()["signal_id"])
    house.relay.destination.status = 200


async def asked(house: House, method: str, path: str, body: object = None) -> Any:
    bearer = {"authorization": f"Bearer {ADMIN_TOKEN}"}
    answer = await house.relay.http.request(method, path, json=body, headers=bearer)
    return answer.json()


async def tidied(house: House) -> None:
    """What pages did is undone: no rules; the destinations of before are in use, others not."""
    rules = await asked(house, "PUT", "/api/rules", {"every": {}, "sources": {}})
    assert rules["every"]["cooldown_sec"] == 0, rules
    for one in (await house.relay.read("/api/destinations"))["items"]:
        ours = one["name"] in {"main", "second"}
        for order in ("enable", "resume", "close-breaker") if ours else ("disable",):
            await asked(house, "POST", f"/api/destinations/{one['id']}/{order}")
        if ours:
            windows = {"windows": "600/60s,5000/3600s"}
            await asked(house, "PATCH", f"/api/destinations/{one['id']}", windows)


async def ready_for(house: House, page: Session, block: Block) -> None:
    """What a reader waits for, or has: the pauses that people must keep to are over, there is
    something to sell, something held, and an id of each kind.
    """
    await house.relay.execute("UPDATE lookout SET by_hand_at = NULL")
    await asked(house, "POST", "/api/buying/resume")
    await asked(house, "POST", "/api/lookout/resume")
    await asked(house, "POST", "/api/positions", {"ticker": "AAPL"})
    for kind in KINDS:
        name, _, asking = kind.partition("?")
        if f"/api/{name}/" in block.code:
            items = (await house.relay.read(f"/api/{name}?limit=1&{asking}"))["items"]
            page.ids[f"/api/{name}"] = items[0]["id"] if items else ""


@pytest.mark.timeout(400)
@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
@pytest.mark.asyncio(loop_scope="session")
async def test_the_commands_of_a_page_work(path: Path, house: House, tmp_path: Path) -> None:
    blocks = blocks_of(path)
    missing: list[str] = []
    wrong: list[str] = []
    await tidied(house)
    await lose_a_sell(house, f"LOST{PAGES.index(path)}")
    await tidied(house)
    async with session(tmp_path, house.port, TOKENS) as page:
        for block, after in zip(blocks, [*blocks[1:], None], strict=True):
            if block.fate is not Fate.SESSION:
                continue
            await ready_for(house, page, block)
            try:
                done = await page.run(block)
            except NotHereError as program:
                missing.append(f"{block.place} needs {program}")
                continue
            wrong += [f"{block.place}: {one}" for one in complaints(block, after, done)]
    assert wrong == [], "\n".join(wrong)
    if missing:
        pytest.skip("; ".join(missing))


def complaints(block: Block, after: Block | None, done: Done) -> list[str]:
    """What is not as the page says."""
    kind, told = block.told
    refused = int(told) if kind == "answers" else None
    bad = [one for one in done.statuses if (one != refused if refused else one >= 400)]
    said = f"{done.printed[-600:]}\n{done.complaints[-600:]}"
    found = [f"answered {one}: {said}" for one in bad]
    found += [f"{one}\n{said}" for one in done.failures if not refused]
    if "Traceback" in done.complaints or "Error:" in done.complaints:
        found.append(said)
    shown = after and after.language == "json" and after.line <= block.line + lines(block) + 4
    if block.language == "sh" and after and shown and not found:
        found += other_members(json.loads(after.code), answer_of(done))
    return found


def lines(block: Block) -> int:
    return block.code.count("\n")


def answer_of(done: Done) -> object:
    """The last thing that was printed, where it is JSON."""
    try:
        return json.loads(done.printed)
    except ValueError:
        return None


def other_members(shown: object, given: object, place: str = "answer") -> list[str]:
    """Where an example and a real answer have not the same members."""
    if isinstance(shown, Mapping) and isinstance(given, Mapping):
        ours, theirs = cast("Mapping[str, Any]", shown), cast("Mapping[str, Any]", given)
        odd = sorted(ours.keys() ^ theirs.keys())
        found = [
            f"{place}: {name} is only in {'the page' if name in ours else 'the answer'}"
            for name in odd
        ]
        for name in (ours.keys() & theirs.keys()) - FREE:
            found += other_members(ours[name], theirs[name], f"{place}.{name}")
        return found
    if isinstance(shown, list) and isinstance(given, list):
        pairs = zip(cast("list[Any]", shown)[:1], cast("list[Any]", given)[:1], strict=False)
        return [one for pair in pairs for one in other_members(*pair, f"{place}[0]")]
    return []


async def test_a_page_that_is_wrong_is_found_out(tmp_path: Path) -> None:
    """The shell tells a command that failed, a refusal, and a program that raised."""
    said = {
        "false; true": "FAILED",
        "ls nowhere | cat": "FAILED",
        "curl http://127.0.0.1:8000/": "FAILED",
    }
    async with session(tmp_path, 1, {}) as page:
        for code, word in said.items():
            done = await page.run(Block(ROOT / "README.md", 1, "sh", "", code + "\n"))
            assert word in done.complaints, code
        done = await page.run(Block(ROOT / "README.md", 1, "python", "", "raise SystemExit(3)\n"))
        assert done.failures


def test_an_example_that_is_not_the_answer_is_found_out() -> None:
    shown = {"items": [{"id": 1, "name": "a", "refused": {"stale": 1}}], "next": None}
    assert other_members(shown, {"items": [], "next": None}) == []
    assert other_members(shown, {"items": [{"id": 2, "name": "b", "refused": 0}], "next": 1}) == []
    given = {"items": [{"id": 2, "title": "b", "refused": {"held": 1}}], "next": None}
    assert len(other_members(shown, given)) == 2
