"""The overview says what is wrong with the list, since when, and what mends it."""

import re
from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio

from demo.finviz import made_up_market
from tests.web.operating import ask
from tests.web.screening import URL, active, ahead, change, create, tell
from tests.web.stage import Relay, cloned, relay, until
from tests.web.test_attention import page

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def it(template: str) -> AsyncGenerator[Relay]:
    async with cloned(template) as url, relay(url) as it:
        yield it


async def looked(it: Relay, outcome: str) -> None:
    """Have Finviz asked, until a look ended so."""
    await it.execute("UPDATE lookout SET by_hand_at = NULL")
    assert (await ask(it, "POST", "/api/universe/refresh")).status_code == 202

    async def ended() -> bool:
        return (await it.read("/api/universe"))["last_fetch"]["outcome"] == outcome

    await until(ended, f"a look that is {outcome}")


async def test_a_calm_list_is_shown_with_its_trust_and_no_problem(it: Relay) -> None:
    shown = await page(it)
    assert '<p class="sentence good">Forwarding. List fresh' in shown
    assert "fresh</span> for" in shown
    assert "delayed: free pages" in shown
    assert "problem" not in shown.partition("<section")[0].partition("sentence")[2]


async def test_a_refusal_is_named_with_its_beginning_and_the_next_try(it: Relay) -> None:
    it.finviz.answer_with("blocked")
    await looked(it, "blocked")
    shown = await page(it)
    assert re.search(r"Finviz, for \d+ s: blocked\.", shown)
    assert "Until then the last good list counts, as long as it is fresh." in shown
    it.finviz.answer_with(None)
    await looked(it, "ok")
    assert "blocked" not in await page(it)


async def test_without_a_list_none_is_said_to_count(template: str) -> None:
    """The screen asks for something else, and Finviz refuses: nothing else is claimed."""
    async with cloned(template) as url, relay(url) as one:
        one.finviz.answer_with("blocked")
        assert (await change(one, await active(one), url=URL)).status_code == 200

        async def is_refused() -> bool:
            return (await one.read("/api/universe"))["last_fetch"]["outcome"] == "blocked"

        await until(is_refused, "a refusal")
        shown = await page(one)
        assert "Until then nothing is bought." in shown
        assert "last good list" not in shown


async def test_a_pause_is_shown_with_who_and_why(it: Relay) -> None:
    await ask(it, "POST", "/api/lookout/pause", {"reason": "on holiday"})
    shown = await page(it)
    assert "Finviz is not asked: paused by" in shown
    assert "on holiday" in shown
    assert '<p class="sentence warn">' in shown
    await ask(it, "POST", "/api/lookout/resume")
    assert "Finviz is not asked" not in await page(it)


async def test_a_list_that_waits_to_be_believed_is_shown_with_its_tickers(it: Relay) -> None:
    market = it.finviz.market
    it.finviz.market = made_up_market(77, 40)
    await looked(it, "suspect")
    await ask(it, "POST", "/api/lookout/pause", {"reason": "a test"})
    shown = await page(it)
    assert "A list waits to be believed: only 0 of" in shown
    assert it.finviz.market[0].ticker in shown
    it.finviz.market = market
    await ask(it, "POST", "/api/lookout/resume")
    await looked(it, "ok")
    assert "waits to be believed" not in await page(it)


async def test_an_account_that_is_not_elite_after_all_is_said(template: str) -> None:
    token = "an-export-token"
    async with (
        cloned(template) as url,
        relay(url, finviz_use_elite=True, finviz_auth_token=token) as one,
    ):
        assert "real-time: Elite" in await page(one)
        await one.execute("UPDATE fetches SET premium = false")
        assert "Finviz says this account is not Elite" in await page(one)


async def test_a_fixed_list_that_has_ended_is_said(it: Relay) -> None:
    fixed = await create(it, kind="fixed", tickers=["AA", "BB"], valid_until=ahead(days=1))
    await tell(it, fixed, "activate")

    async def is_in_force() -> bool:
        return (await it.read("/api/universe"))["screen"] == fixed["name"]

    await until(is_in_force, "the fixed list")
    assert "a fixed list until" in await page(it)
    assert (await it.read("/finviz/config"))["url"] is None
    ended = "valid_until = clock_timestamp() - interval '1 min'"
    await it.execute(f"UPDATE screens SET {ended} WHERE active")
    await it.execute(f"UPDATE universes SET {ended} WHERE valid_until IS NOT NULL")
    shown = await page(it)
    assert "The fixed list ended at" in shown
    assert "List stale" in shown
