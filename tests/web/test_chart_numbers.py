"""The numbers of charts: one shape for all, bounded periods, and what each of them counts."""

from typing import Any

import pytest

from tests.web.operating import create, tell
from tests.web.stage import UPDATE_TOKEN, Relay

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAMES = ("signals", "latency", "budget", "list")
TONES = {"good", "warn", "bad", "accent", "info", "ink", "soft"}


def series(chart: dict[str, Any]) -> dict[str, list[float | None]]:
    return {one["name"]: one["values"] for one in chart["series"]}


@pytest.mark.parametrize("minutes", [10, 60, 360, 1440])
@pytest.mark.parametrize("name", NAMES)
async def test_all_have_one_shape(shared: Relay, name: str, minutes: int) -> None:
    chart = await shared.read(f"/api/charts/{name}?minutes={minutes}")
    assert chart.keys() == {"x", "series", "note"}
    assert 10 <= len(chart["x"]) <= 100
    assert chart["x"] == sorted(set(chart["x"]))
    for one in chart["series"]:
        assert one.keys() == {"name", "unit", "tone", "values", "marks"}
        assert len(one["values"]) == len(chart["x"])
        assert one["tone"] in TONES
        assert all(mark.keys() == {"x", "y", "label", "tone"} for mark in one["marks"])


@pytest.mark.parametrize("minutes", ["9", "1441", "x", "-1", "60.5"])
@pytest.mark.parametrize("name", NAMES)
async def test_a_period_has_bounds(shared: Relay, name: str, minutes: str) -> None:
    answer = await shared.get(f"/api/charts/{name}?minutes={minutes}", UPDATE_TOKEN)
    assert (answer.status_code, answer.json()["field"]) == (400, "minutes")


async def counted(shared: Relay) -> dict[str, float]:
    found = series(await shared.read("/api/charts/signals"))
    return {name: sum(value or 0 for value in values) for name, values in found.items()}


async def test_signals_are_counted_by_what_became_of_them(shared: Relay, listed: str) -> None:
    before = await counted(shared)
    alerts = [{"ticker": listed, "action": "buy"}, {"ticker": "GHOST", "action": "buy"}]
    alerts += [{"ticker": listed, "action": "up"}]
    for alert in alerts:
        await shared.settled((await shared.post(alert)).json()["signal_id"])
    after = await counted(shared)
    assert {name: number - before[name] for name, number in after.items()} == {
        "delivered": 1,
        "on the way": 0,
        "rejected": 1,
        "expired or invalid": 1,
        "not delivered": 0,
    }
    took = series(await shared.read("/api/charts/latency"))
    half = next(one for one in reversed(took["half within"]) if one is not None)
    most = next(one for one in reversed(took["99 % within"]) if one is not None)
    assert 0 < half <= most < 10_000


async def test_a_budget_is_told_in_percent_and_of_one_by_window(shared: Relay, listed: str) -> None:
    made = await create(shared, windows="4/60s,8/3600s")
    try:
        answer = await shared.post({"ticker": listed, "action": "buy", "of": "budget"})
        await shared.settled(answer.json()["signal_id"])
        shares = series(await shared.read("/api/charts/budget"))
        assert shares.keys() == {made["name"]}, "main has no limit"
        assert max(value or 0 for value in shares[made["name"]]) == 25.0
        windows = series(await shared.read(f"/api/charts/budget?destination={made['name']}"))
        assert max(value or 0 for value in windows["used in a minute"]) == 1
        assert windows["used in an hour"][-1] == 1
        assert set(windows["limit in an hour"]) == {8}
        nul = await shared.get("/api/charts/budget?destination=%00")
        assert (nul.status_code, nul.json()["code"]) == (400, "invalid_field"), "found by fuzzing"
        unknown = await shared.get("/api/charts/budget?destination=nobody")
        assert (unknown.status_code, unknown.json()["code"]) == (404, "no_such_destination")
    finally:
        await tell(shared, made, "disable")


async def test_the_list_grows_old_and_looks_in_vain_are_marked(shared: Relay) -> None:
    await shared.execute(
        "INSERT INTO fetches (screen_id, at, outcome, detail, pages, duration_ms, next_at)"
        " SELECT id, now() - interval '5 minutes', 'blocked', '', 1, 1, now()"
        " FROM screens WHERE active"
    )
    chart = await shared.read("/api/charts/list?minutes=10")
    grown = series(chart)
    assert grown["oldest"][0] is None, "there was no list yet"
    (row,) = await shared.rows(
        "SELECT CAST(extract(epoch FROM clock_timestamp() - min(at)) AS float8) AS ago"
        " FROM fetches WHERE outcome = 'ok'"
    )
    assert 0 <= (grown["oldest"][-1] or 0) <= row.ago + 0.1, "no older than the first look"
    assert set(grown["too old for buys"]) == {540.0}
    assert [mark["label"] for mark in chart["series"][0]["marks"]] == ["blocked"]
    assert chart["note"]
