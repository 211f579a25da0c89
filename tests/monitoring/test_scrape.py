"""What a real relay tells of itself: by the conventions, and all that rules and dashboards name."""

import asyncio
import math
import re
import subprocess
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from engines.metrics import Metrics
from engines.siblings import Place, Siblings
from tests.monitoring.files import PAGE, named, program, queries, recorded, rules
from tests.web.stage import UPDATE_TOKEN, WEBHOOK_TOKEN, Relay, cloned, relay, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

UNITS = ("seconds", "bytes", "total", "info")
OTHER_UNITS = re.compile(r"_(ms|milliseconds|minutes|hours|days|kb|mb|percent|count|sum)(_|$)")
SIMPLE = re.compile(r"[a-z][a-z0-9_]*[a-z0-9]")
LABELS = {
    *("answer", "status", "reason", "outcome", "state", "table", "severity", "kind", "why"),
    *("worker", "pool", "side", "destination", "breaker", "window", "cause", "le", "process"),
    *("version", "revision", "relay_list_trust"),
}
"""Each has few values: words of ours, or names that an operator gave."""

MOST_SERIES = 800
"""Of one process with one destination."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lived(template: str) -> AsyncGenerator[tuple[Relay, str]]:
    """A relay that has bought, sold, turned away, refused; and what it tells then."""
    async with cloned(template) as url, relay(url, dest_webhook_rate_limiting_enabled=True) as one:
        listed = one.finviz.market[0].ticker
        for alert in (
            {"ticker": listed, "action": "buy"},
            {"ticker": "ZZZZ", "action": "buy"},
            {"ticker": listed, "action": "sell"},
        ):
            await one.settled((await one.post(alert)).json()["signal_id"])
        await one.post(b"nonsense")
        await one.http.post("/webhook/in/not-a-token", content=b"{}")
        await until(lambda: _is_counted(one), "the last attempt to be counted", 40)
        yield one, await told(one)


async def _is_counted(relay: Relay) -> bool:
    """It is settled for all to see a moment before this process counts it."""
    series = 'relay_destination_attempts_total{destination="main",outcome="delivered"} 2.0'
    refused = 'relay_tokens_refused_total{why="wrong"} 1.0'
    text = await told(relay)
    return series in text and refused in text


async def told(relay: Relay) -> str:
    return (await relay.get("/metrics")).text


def families(text: str) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(text)}


def series(found: Iterable[Metric]) -> set[str]:
    """The names that can be asked for: of what has no series yet, those it will have."""
    ends = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
    return {f"{one.name}{end}" for one in found for end in ("", *ends.get(one.type, ()))}


async def siblings_too(folder: Path) -> set[str]:
    """What one of several processes tells besides."""
    text = (await Siblings(Place(1, 1, folder), Metrics()).render()).decode()
    return series(families(text).values())


async def test_names_and_units_are_by_the_conventions(lived: tuple[Relay, str]) -> None:
    for name, family in families(lived[1]).items():
        assert SIMPLE.fullmatch(name), name
        assert name.startswith(("relay_", "process_")), name
        assert not OTHER_UNITS.search(name), f"{name}: base units; endings are not ours to give"
        assert family.documentation, name
        assert family.type in {"counter", "gauge", "histogram", "info"}, name
        for unit in UNITS[:2]:
            parts = name.removesuffix("_total").split("_")
            assert unit not in parts or parts[-1] == unit, f"{name}: the unit comes last"
    for line in lived[1].splitlines():
        if line.startswith("# TYPE") and line.endswith(" counter"):
            assert line.split()[2].endswith("_total"), line


async def test_labels_are_few_and_hold_nothing_that_grows(lived: tuple[Relay, str]) -> None:
    samples = [one for family in families(lived[1]).values() for one in family.samples]
    assert {name for one in samples for name in one.labels} <= LABELS
    assert len(samples) < MOST_SERIES
    ticker = lived[0].finviz.market[0].ticker
    for secret in (ticker, "ZZZZ", "127.0.0.1", WEBHOOK_TOKEN, UPDATE_TOKEN, "a-password"):
        assert f'"{secret}"' not in lived[1]
        assert len(secret) < 8 or secret not in lived[1]


async def test_histograms_are_sound(lived: tuple[Relay, str]) -> None:
    histograms = [one for one in families(lived[1]).values() if one.type == "histogram"]
    assert len(histograms) >= 6
    for family in histograms:
        buckets: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
        counts: dict[tuple[tuple[str, str], ...], float] = {}
        for name, labels, value, *_ in family.samples:
            key = tuple(sorted((n, v) for n, v in labels.items() if n != "le"))
            if name.endswith("_bucket"):
                buckets.setdefault(key, []).append((float(labels["le"]), value))
            elif name.endswith("_count"):
                counts[key] = value
        for key, found in buckets.items():
            assert found == sorted(found), family.name
            assert found[-1] == (math.inf, counts[key]), family.name
            assert 5 <= len(found) <= 16, family.name


async def test_no_series_stands_twice_and_numbers_are_numbers(lived: tuple[Relay, str]) -> None:
    lines = [line for line in lived[1].splitlines() if not line.startswith("#")]
    names = [line.rpartition(" ")[0] for line in lines]
    assert len(names) == len(set(names))
    assert not any(math.isnan(float(line.rpartition(" ")[2])) for line in lines)


async def test_promtool_finds_nothing_to_complain_of(lived: tuple[Relay, str]) -> None:
    command = [program("promtool"), "check", "metrics"]
    done = await asyncio.to_thread(
        subprocess.run, command, input=lived[1], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


async def test_what_rules_and_dashboards_name_is_there(
    lived: tuple[Relay, str], tmp_path: Path
) -> None:
    known = series(families(lived[1]).values()) | await siblings_too(tmp_path) | {"up"}
    records = {rule["record"] for rule in rules("record")}
    for rule in (*rules("alert"), *rules("record")):
        assert named(rule["expr"]) <= known, rule
    for panel, query in queries():
        assert named(query) <= known, panel
        assert recorded(query) <= records, panel
        assert named(query) | recorded(query), panel


async def test_every_metric_is_explained_and_none_besides(
    lived: tuple[Relay, str], tmp_path: Path
) -> None:
    every = set(families(lived[1])) | {"relay_process_up"}
    rows = [line for line in PAGE.splitlines() if line.startswith("| `")]
    said = {
        name.removesuffix("_total")
        for line in rows
        for name in re.findall(r"`((?:relay|process)_[a-z_]+)", line.split("|")[1])
    }
    assert said == every
    assert await siblings_too(tmp_path) >= {"relay_process_up"}


async def test_it_tells_what_happened(lived: tuple[Relay, str]) -> None:
    value = {f"{s.name}{sorted(s.labels.items())}": s.value for f in families(lived[1]).values()
             for s in f.samples}  # fmt: skip

    def of(name: str, **labels: str) -> Any:
        return value[f"{name}{sorted(labels.items())}"]

    assert of("relay_database_up") == of("relay_ready") == 1
    assert of("relay_destination_attempts_total", destination="main", outcome="delivered") == 2
    assert of("relay_destination_window_used", destination="main", window="60s") == 2
    assert of("relay_destination_window_limit", destination="main", window="60s") == 60
    assert of("relay_destination_breaker", destination="main", breaker="closed") == 1
    assert of("relay_tokens_refused_total", why="wrong") == 1
    assert of("relay_positions", state="open") == 0
    assert of("relay_sell_oldest_age_seconds") == 0
    assert of("relay_list_age_limit_seconds") >= 180 > of("relay_list_age_seconds") >= 0
    assert of("relay_worker_steps_total", worker="gatekeeper") >= 3
    assert of("relay_worker_failures_in_row", worker="settler") == 0
    assert of("relay_database_commit_seconds_count", pool="engines") > 0
    assert abs(of("relay_database_clock_skew_seconds")) < 5
    assert of("relay_data_disk_bytes") > of("relay_data_free_bytes") > 0


async def test_a_pause_and_a_sell_that_waits_are_seen(lived: tuple[Relay, str]) -> None:
    one = lived[0]
    (main,) = await one.rows("SELECT id FROM destinations")
    await one.execute("UPDATE destinations SET state = 'paused'")
    await one.execute("UPDATE gate SET paused_at = now(), paused_by = 'a test'")
    try:
        ticker = one.finviz.market[1].ticker
        await one.execute(
            "INSERT INTO positions (id, ticker, state, opened_at, updated_at)"
            " VALUES (gen_random_uuid(), :ticker, 'open', now(), now())",
            ticker=ticker,
        )
        await one.post({"ticker": ticker, "action": "sell"})

        async def is_seen() -> bool:
            text = await told(one)
            waits = 'relay_destination_waiting{destination="main",side="sell"} 1.0' in text
            return waits and "relay_sell_oldest_age_seconds 0.0" not in text

        await until(is_seen, "the sell that waits", 30)
        text = await told(one)
        assert "relay_buying_paused 1.0" in text
        assert 'relay_destination_state{destination="main",state="paused"} 1.0' in text
    finally:
        await one.execute("UPDATE gate SET paused_at = NULL, paused_by = NULL")
        await one.execute("UPDATE destinations SET state = 'enabled' WHERE id = :id", id=main.id)
