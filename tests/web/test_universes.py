"""The past of the lists over HTTP: versions, moments, ranks over time, looks, and why."""

from collections.abc import AsyncGenerator
from datetime import datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from database.vault import Vault
from tests.conftest import KEY
from tests.database.lists import BEGAN, Lists, at
from tests.database.rows import Rows
from tests.web.stage import ADMIN_TOKEN, Relay, call, cloned, relay, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADMIN = [(b"authorization", f"Bearer {ADMIN_TOKEN}".encode())]
NOBODY = "01a1fc35-dcd6-7c32-b2ed-b8c505011327"
ADDRESS = "https://finviz.com/screener.ashx?f=of_the_past"
BEFORE = """
    INSERT INTO screen_versions (screen_id, version, active, kind, url, top_n, refresh_sec, margin,
                                 wait_sec, whole_market, slow_when_closed, made_at)
    SELECT screen_id, 0, true, kind, :url, 2, 60, 1, 0, false, false, :at FROM screen_versions
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def past(shared: Relay) -> Lists:
    """A minute of January 2025, in which OLD drops out at 20 and comes in at 40 for 10 seconds."""
    rows = Rows(shared.database, Vault.from_key(KEY))
    (screen,) = await rows.sql("SELECT id FROM screens")
    await rows.sql("UPDATE screen_versions SET made_at = :at", at=at(3_600))
    await rows.sql(BEFORE, url=ADDRESS, at=BEGAN)
    lists = Lists(rows, screen, ADDRESS, top_n=2, margin=1)
    minute = ((0, "X OLD Y"), (10, "X Y OLD"), (20, "X Y Z"), (40, "OLD X"), (50, "X Y"))
    for second, names in minute:
        silent = [None] * names.count(" ")
        version = await lists.add(
            second, *names.split(), prices=[9.5, *silent], volumes=[7, *silent]
        )
        await lists.look(second, version=version)
    await lists.look(55, "throttled")
    return lists


def moment(second: float) -> str:
    return at(second).isoformat().replace("+00:00", "Z")


async def all_of(shared: Relay, path: str, **asked: object) -> list[Any]:
    """Every page of two of it."""
    query = "&".join(f"{name}={value}" for name, value in {"limit": 2, **asked}.items())
    page = await shared.read(f"{path}?{query}")
    items = page["items"]
    while page["next"]:
        page = await shared.read(f"{path}?{query}&cursor={page['next']}")
        items += page["items"]
    return items


async def test_versions_are_paged_newest_first(shared: Relay, past: Lists) -> None:
    found = await all_of(shared, "/api/universes")
    versions = [item["version"] for item in found]
    assert versions == sorted(versions, reverse=True)
    assert len(versions) == 6
    for screen in (past.screen, "all"):
        assert await all_of(shared, "/api/universes", screen=screen) == found
    dropped = found[2]
    assert dropped | {"version": 0, "screen_id": "", "screen": ""} == {
        "version": 0,
        "screen_id": "",
        "screen": "",
        "fetched_at": moment(20),
        "confirmed_at": moment(20),
        "total": 45,
        "size": 3,
        "top_n": 2,
        "margin": 1,
        "entered": [],
        "dropped": ["OLD"],
        "kept": [],
        "accepted_by": None,
    }


@pytest.mark.usefixtures("past")
async def test_a_version_is_read_with_its_rows(shared: Relay) -> None:
    kept = (await shared.read("/api/universes"))["items"][3]
    found = await shared.read(f"/api/universes/{kept['version']}")
    rows = found.pop("rows")
    assert found == kept
    assert rows == [
        {"rank": 1, "ticker": "X", "price": 9.5, "volume": 7, "counts": True, "kept": False},
        {"rank": 2, "ticker": "Y", "price": None, "volume": None, "counts": True, "kept": False},
        {"rank": 3, "ticker": "OLD", "price": None, "volume": None, "counts": True, "kept": True},
    ]


async def test_the_state_of_a_moment(shared: Relay, past: Lists) -> None:
    found = await shared.read(f"/api/universes/at?time={moment(57)}")
    rows = found.pop("rows")
    assert [(row["ticker"], row["counts"]) for row in rows] == [("X", True), ("Y", True)]
    assert found.pop("version")
    assert found.pop("screen")
    assert found == {
        "at": moment(57),
        "screen_id": str(past.screen),
        "url": ADDRESS,
        "top_n": 2,
        "margin": 1,
        "trust": "fresh",
        "fetched_at": moment(50),
        "confirmed_at": moment(50),
        "age_sec": 7.0,
        "total": 45,
        "last_fetch": {"outcome": "throttled", "at": moment(55), "detail": "a test"},
    }


@pytest.mark.usefixtures("past")
@pytest.mark.parametrize(
    ("second", "trust"), [(230, "fresh"), (231, "stale"), (3_599, "stale"), (3_601, "unknown")]
)
async def test_the_trust_of_a_moment(shared: Relay, second: float, trust: str) -> None:
    """A list is fresh for three refreshes, and at least 180 s; another address has none yet."""
    found = await shared.read(f"/api/universes/at?time={moment(second)}")
    assert found["trust"] == trust
    assert bool(found["rows"]) == (trust != "unknown")


@pytest.mark.usefixtures("past")
async def test_now_is_the_list_in_force(shared: Relay) -> None:
    now, listed = [
        await shared.read(path) for path in ("/api/universes/at?time=2999-01-01", "/api/universe")
    ]
    same = ("version", "trust", "total", "fetched_at", "top_n", "margin", "screen")
    assert {name: now[name] for name in same} == {name: listed[name] for name in same}
    assert [row["ticker"] for row in now["rows"]] == [row["ticker"] for row in listed["tickers"]]


async def test_the_rank_of_a_ticker_over_time(shared: Relay, past: Lists) -> None:
    await shared.post({"ticker": "OLD", "action": "buy"})
    asked = f"ticker=nyse:old&from={moment(-10)}&to={moment(60)}"
    await shared.execute("UPDATE signals SET received_at = :at WHERE ticker = 'OLD'", at=at(25))
    found = await shared.read(f"/api/universes/rank?{asked}")
    assert [(point["at"], point["rank"], point["in"]) for point in found["points"]] == [
        (moment(-10), None, False),
        (moment(0), 2, True),
        (moment(10), 3, True),
        (moment(20), None, False),
        (moment(40), 1, True),
        (moment(50), None, False),
    ]
    assert found["spells"] == [
        {"entered_at": moment(0), "dropped_at": moment(20), "for_sec": 20.0},
        {"entered_at": moment(40), "dropped_at": moment(50), "for_sec": 10.0},
    ]
    (signal,) = found["signals"]
    assert (signal["side"], signal["at"]) == ("buy", moment(25))
    assert (found["ticker"], found["screen_id"]) == ("OLD", str(past.screen))
    assert (found["from"], found["to"]) == (moment(-10), moment(60))
    assert (found["sampled"], found["every_sec"], found["capped"]) == (False, None, False)


async def test_the_last_day_is_the_usual_period(shared: Relay, listed: str) -> None:
    found = await shared.read(f"/api/universes/rank?ticker={listed}")
    begin, end = (datetime.fromisoformat(found[name]) for name in ("from", "to"))
    assert end - begin == timedelta(days=1)
    assert [point["in"] for point in found["points"]] == [False, True]
    (spell,) = found["spells"]
    assert spell["dropped_at"] is None


async def test_looks_are_paged_newest_first(shared: Relay, past: Lists) -> None:
    found = await all_of(shared, "/api/fetches")
    ids = [item["id"] for item in found]
    assert ids == sorted(ids, reverse=True)
    assert {item["screen_id"] for item in found} == {str(past.screen)}
    (throttled,) = await all_of(shared, "/api/fetches", outcome="throttled")
    assert (throttled["at"], throttled["version"]) == (moment(55), None)
    assert throttled in found


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/api/universes?limit=501", "limit"),
        ("/api/universes?cursor=%21", "cursor"),
        ("/api/universes?screen=first", "screen"),
        ("/api/universes/first", "version"),
        ("/api/universes/-1", "version"),
        ("/api/universes/99999999999999999999", "version"),
        ("/api/universes/at", "time"),
        ("/api/universes/at?time=noon", "time"),
        ("/api/universes/at?time=0001-01-01T00:00:00%2B14:00", "time"),
        ("/api/universes/rank", "ticker"),
        ("/api/universes/rank?ticker=%3Cb%3E", "ticker"),
        ("/api/universes/rank?ticker=A&screen=all", "screen"),
        ("/api/universes/rank?ticker=A&from=2025-01-02&to=2025-01-01", "from"),
        ("/api/universes/rank?ticker=A&from=2025-01-01&to=2025-01-01", "from"),
        ("/api/universes/rank?ticker=A&from=2023-01-01&to=2025-01-01", "from"),
        ("/api/universes/rank?ticker=A&to=9999-12-31T23:59:59-14:00", "to"),
        ("/api/fetches?outcome=good", "outcome"),
    ],
)
async def test_a_bad_question_is_refused_by_its_field(shared: Relay, path: str, field: str) -> None:
    answer = await shared.get(path)
    assert (answer.status_code, answer.json()["field"]) == (400, field)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"/api/universes?screen={NOBODY}", "no_such_screen"),
        (f"/api/universes/rank?ticker=A&screen={NOBODY}", "no_such_screen"),
        ("/api/universes/999999", "no_such_universe"),
        ("/api/universes/at?time=1971-01-01T00:00:00Z", "no_such_universe"),
    ],
)
async def test_what_is_not_there_is_said(shared: Relay, path: str, code: str) -> None:
    answer = await shared.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, code)


@pytest.mark.usefixtures("past")
async def test_a_signal_says_what_happened_around_it(shared: Relay) -> None:
    """Rank 3 of 2 at 0 s: entered 20 s later; the lists go on as the fixture says."""
    id = (await shared.post({"ticker": "Y", "action": "buy"})).json()["signal_id"]
    await shared.settled(id)
    (first,) = await shared.rows("SELECT min(version) FROM universes WHERE url = :url", url=ADDRESS)
    await shared.execute(
        "UPDATE signals SET judged_at = :at, universe_version = :version, rank = 3, cutoff = 2,"
        " list_age_ms = 5000 WHERE id = :id",
        id=id,
        at=at(5),
        version=first[0],
    )
    found = await shared.read(f"/api/signals/{id}")
    assert found["why"] == (
        "The ticker was not in the top of the list. Rank 3 of 2; entered 5 s later for 30 s."
        " The list was 5 s old."
    )
    around = found["verdict"]["around"]
    assert around | {"screen": ""} == {
        "version": first[0],
        "rank": 3,
        "cutoff": 2,
        "top_n": 2,
        "margin": 1,
        "kept": False,
        "list_age_sec": 5.0,
        "screen": "",
        "list_total": 45,
        "entered_at": moment(10),
        "entered_after_sec": 5.0,
        "entered_for_sec": 30.0,
        "left_before_sec": None,
    }
    (listed,) = (await shared.read("/api/signals?ticker=Y"))["items"]
    assert "around" not in listed["verdict"]
    assert listed["why"] == (
        "The ticker was not in the top of the list. Rank 3 of 2. The list was 5 s old."
    )


async def test_a_signal_without_a_list_has_nothing_around(shared: Relay) -> None:
    answer = await shared.post({"ticker": "GHOST", "action": "up"})
    found = await shared.settled(answer.json()["signal_id"])
    assert found["verdict"]["around"] is None


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def waiting(template: str) -> AsyncGenerator[Relay]:
    """One whose screen lets a buy wait for a minute."""
    async with cloned(template) as url, relay(url) as one:
        await one.execute(
            "UPDATE screens SET wait_sec = 60, version = version + 1, updated_at = now()"
        )
        yield one


async def test_a_buy_that_waits_says_so_and_how_it_ended(waiting: Relay) -> None:
    id = (await waiting.post({"ticker": "GHOST", "action": "buy"})).json()["signal_id"]

    async def waits() -> bool:
        return "Waiting until" in (await waiting.read(f"/api/signals/{id}"))["why"]

    await until(waits, "its wait")
    found = await waiting.read(f"/api/signals/{id}")
    ends = datetime.fromisoformat(found["waits_until"])
    assert found["why"] == f"Waiting until {ends:%H:%M:%S} UTC for GHOST to come into the list."
    assert ends - datetime.fromisoformat(found["waits_since"]) == timedelta(minutes=1)
    await waiting.post({"ticker": "GHOST", "action": "sell"})
    found = await waiting.settled(id)
    assert (found["status"], found["reason"]) == ("expired", "not_in_list")
    assert "s for its ticker to come into the list; then a sell came. Not" in found["why"]


@profile(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    path=st.sampled_from(["", "/at", "/rank", "/1"]),
    name=st.sampled_from(["time", "from", "to", "ticker", "screen", "cursor", "limit"]),
    value=st.text(max_size=30) | st.integers().map(str) | st.datetimes().map(str),
)
async def test_no_question_is_a_server_error(
    shared: Relay, path: str, name: str, value: str
) -> None:
    quoted = "".join(f"%{byte:02X}" for byte in value.encode("utf-8", "replace"))
    usual = "" if name == "ticker" else "&ticker=A"
    asked = f"/api/universes{path}?{name}={quoted}{usual}"
    answer = await call(shared.app, "GET", asked, ADMIN)
    assert answer.status < 500, answer.body
