"""What main wires for the list, seen from outside: each part is there, and does its work."""

import json
import logging
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import main
from domain.pacing import calm_refresh
from engines.clock import utc_now
from engines.universe import calendar
from engines.worker import Worker
from tests.web.calm import list_at_rest
from tests.web.operating import ask
from tests.web.screening import active, change
from tests.web.stage import TOP_N, Relay, cloned, relay, until

REFRESH = timedelta(seconds=180)


async def listed(it: Relay) -> dict[str, Any]:
    return await it.read("/api/universe")


async def test_every_worker_of_the_list_is_at_work(template: str) -> None:
    async with cloned(template) as url, relay(url) as it:
        names = [one["name"] for one in (await it.read("/status"))["workers"]]
        assert {"keeper", "historian", "reconsider"} <= set(names)

        async def all_have_stepped() -> bool:
            workers = (await it.read("/status"))["workers"]
            mine = [one for one in workers if one["name"] in {"historian", "reconsider"}]
            return all(one["stepped_at"] and not one["failures_in_row"] for one in mine)

        await until(all_have_stepped, "a step of each")


@pytest.mark.parametrize("level", [logging.INFO, logging.WARNING])
async def test_nobody_follows_the_events_for_lines_that_the_log_would_not_write(
    template: str, caplog: pytest.LogCaptureFixture, level: int
) -> None:
    caplog.set_level(level, "signals")
    async with cloned(template) as url, relay(url, log_signals=True) as it:
        names = [one["name"] for one in (await it.read("/status"))["workers"]]
        assert ("chronicler" in names) is (level == logging.INFO)


async def test_what_follows_the_events_has_a_share_of_the_time(
    template: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "signals")
    shares: dict[str, float] = {}

    def noted(name: str, *given: Any, share: float = 1.0) -> Worker:
        shares[name] = share
        return Worker(name, *given, share=share)

    monkeypatch.setattr(main, "Worker", noted)
    async with cloned(template) as url, relay(url, log_signals=True):
        following = {"watchman", "chronicler", "notary", "teller"}
        assert {name for name, share in shares.items() if share < 1} == following


async def test_a_buy_that_waits_is_sent_when_its_ticker_comes_in(template: str) -> None:
    async with cloned(template) as url, relay(url) as it:
        assert (await change(it, await active(it), wait=250)).status_code == 200
        below = it.finviz.market[TOP_N]
        answer = await it.post({"ticker": below.ticker, "action": "buy"})
        id = answer.json()["signal_id"]

        async def waits() -> bool:
            events = (await it.read(f"/api/signals/{id}"))["events"]
            return [one["event"] for one in events][-1] == "signal.waiting"

        await until(waits, "the wait to begin")
        await list_at_rest(it)  # who asks for a look while there is one gets that one
        it.finviz.market = [below, *(one for one in it.finviz.market if one is not below)]
        await ask(it, "POST", "/api/universe/refresh")
        life = await it.settled(id)
        assert life["status"] == "delivered"
        assert "It waited" in life["why"]
        assert [one["event"] for one in life["events"]].count("signal.approved") == 1
        assert [one.id for one in it.destination.parcels] == [id]


async def test_the_intake_rejects_what_the_gate_saw_not_listed(template: str) -> None:
    """The sender is told what he always is: that it was received."""
    async with cloned(template) as url, relay(url) as it:
        below = it.finviz.market[TOP_N].ticker
        ids: list[str] = []

        async def is_early() -> bool:
            answer = await it.post({"ticker": below, "action": "buy", "n": len(ids)})
            assert answer.status_code == 202
            assert answer.json()["status"] == "received"
            ids.append(answer.json()["signal_id"])
            life = await it.settled(ids[-1])
            assert (life["status"], life["reason"]) == ("rejected", "not_in_list")
            return life["verdict"]["at"] == life["received_at"]

        await until(is_early, "a verdict with the commit")
        again = await it.post({"ticker": below, "action": "buy", "n": len(ids) - 1})
        assert (again.status_code, again.json()["signal_id"]) == (200, ids[-1])
        assert again.json()["status"] == "rejected", "a repeat is told where the first stands"


async def test_the_pace_follows_the_calendar_and_the_screen(template: str) -> None:
    """While the market is open both are the same: what is asked holds at any hour."""
    async with cloned(template) as url, relay(url, finviz_slow_when_closed=True) as it:
        found = await listed(it)
        at, due = (
            datetime.fromisoformat(text)
            for text in (found["last_fetch"]["at"], found["next_fetch_at"])
        )
        until_open = await calendar.until_open(utc_now())
        calm = calm_refresh(REFRESH, 3 * REFRESH, until_open)
        assert 0.89 * calm < due - at < 1.11 * calm
        assert (await active(it))["slow_when_closed"] is True


async def test_who_has_no_token_signs_in(template: str) -> None:
    account: dict[str, Any] = {
        "finviz_email": "me@example.com",
        "finviz_password": "a-password-of-mine",
    }
    async with (
        cloned(template) as url,
        relay(url, own_url=None, wait=True, finviz_use_elite=True, **account) as it,
    ):
        found = await listed(it)
        assert (found["trust"], found["last_fetch"]["premium"]) == ("fresh", True)
        assert it.finviz.sessions
        shown = json.dumps([found, await it.read("/api/fetches"), await it.read("/status")])
        assert not any(secret in shown for secret in account.values())


async def test_a_file_with_several_screens_makes_all_of_them(template: str, tmp_path: Path) -> None:
    file = tmp_path / "finviz_config.json"
    base = "https://finviz.com/screener.ashx?v=111&o=-change&f="
    screens = [
        {"name": "one", "url": f"{base}cap_large", "top_n": 3},
        {"name": "two", "url": f"{base}cap_small", "top_n": 4, "active": True, "note": "mine"},
    ]
    file.write_text(json.dumps({"screens": screens}))
    async with cloned(template) as url, relay(url, finviz_config_file=file) as it:
        found = (await it.read("/api/screens"))["items"]
        assert [(one["name"], one["active"], one["top_n"]) for one in found] == [
            ("two", True, 4),
            ("one", False, 3),
        ]
        written = await ask(it, "POST", "/api/screens/export")
        assert written.status_code == 200
        again = json.loads(file.read_text())
        assert (again["top_n"], [one["name"] for one in again["screens"]]) == (4, ["two", "one"])


@pytest.mark.parametrize(("days", "left"), [(2, 1), (4, 2)])
async def test_history_is_kept_as_long_as_it_is_said(template: str, days: int, left: int) -> None:
    """An older list of the screen, and a look, three days old when the relay starts."""
    async with cloned(template) as url:
        async with relay(url) as it:
            await it.execute(
                "INSERT INTO universes (screen_id, url, tickers, total, top_n, fetched_at,"
                " confirmed_at, fresh_since) SELECT screen_id, url, tickers, total, top_n, now(),"
                " now(), now() FROM universes ORDER BY version DESC LIMIT 1"
            )
            old = "now() - interval '3 days'"
            await it.execute(
                f"UPDATE universes SET fetched_at = {old}, confirmed_at = {old} WHERE version = 1"
            )
        async with relay(url, retention_days=days) as it:

            async def is_over() -> bool:
                workers = (await it.read("/status"))["workers"]
                return any(one["stepped_at"] for one in workers if one["name"] == "historian")

            await until(is_over, "a step of the historian")

            async def is_so() -> bool:
                return len(await it.rows("SELECT version FROM universes")) == left

            await until(is_so, "what is left of the lists")
