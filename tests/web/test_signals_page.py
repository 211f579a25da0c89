"""The search page: what it finds, what it says that it searches, what it refuses, its filters."""

import html
import re
from collections.abc import AsyncGenerator
from urllib.parse import quote

import httpx
import pytest
import pytest_asyncio

from database import ways
from tests.web.operating import signed_in
from tests.web.stage import Relay, cloned, relay

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROW = re.compile(r'id="signal-([0-9a-f-]{36})"')


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(template: str) -> AsyncGenerator[Relay]:
    async with cloned(template) as url, relay(url) as one:
        for body in (
            {"ticker": "GHOST", "action": "buy", "note": "Momentum 100% <b>"},
            {"ticker": "NYSE:BRK.B", "action": "sell"},
            {"ticker": "GHOSTLY", "action": "sell", "password": "momentum"},
            {"ticker": one.finviz.market[0].ticker, "action": "buy"},
            {"ticker": "<script>alert(1)</script>", "action": "buy"},
        ):
            await one.settled((await one.post(body)).json()["signal_id"])
        yield one


@pytest_asyncio.fixture(loop_scope="module")
async def browser(house: Relay) -> dict[str, str]:
    return await signed_in(house)


async def look(
    house: Relay, browser: dict[str, str], query: str = "", **headers: str
) -> httpx.Response:
    path = "/admin/partials/signals" if headers else "/admin/signals"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await house.http.get(f"{path}?{query}", headers=browser | named)


async def found(house: Relay, browser: dict[str, str], query: str) -> int:
    answer = await look(house, browser, query)
    assert answer.status_code == 200
    return len(ROW.findall(answer.text))


def chips(answer: httpx.Response) -> list[str]:
    """What is searched, as the page says it."""
    return [
        html.unescape(one).strip() for one in re.findall(r'class="chip"[^>]*>([^<]*)', answer.text)
    ]


@pytest.mark.parametrize(
    ("query", "number", "said"),
    [
        ("", 5, []),
        ("q=sell+rejected+no_position", 2, ["sell", "rejected", "no_position"]),
        ("q=ghost", 2, ["GHOST… (2 tickers)"]),
        ("q=nyse:brk.b", 1, ["BRK-B"]),
        ("q=brk-b+GHOST", 3, ["BRK-B", "or GHOST… (2 tickers)"]),
        ("q=momentum", 1, ["“momentum” in the body"]),
        ("q=%22100%25+%3Cb%22", 1, ["“100% <b” in the body"]),
        ("q=nowhere_in_here", 0, ["“nowhere_in_here” in the body"]),
        ("ticker=ghost&side=buy", 1, ["GHOST", "buy"]),
        ("side=buy&q=sell", 0, ["buy", "“sell” in the body"]),
        ("status=delivered", 1, ["delivered"]),
        ("status=approved&destination=main", 1, ["approved", "to main"]),
        ("status=invalid&reason=invalid_ticker", 1, ["invalid", "invalid_ticker"]),
        ("source=webhook&within=hour", 5, ["from webhook", "the last hour"]),
        ("since=2020-01-31T14:00", 5, ["since 31 Jan 2020 14:00 UTC"]),
        ("until=2020-01-31T14:00Z", 0, ["until 31 Jan 2020 14:00 UTC"]),
    ],
)
async def test_a_search_finds_what_it_says(
    house: Relay, browser: dict[str, str], query: str, number: int, said: list[str]
) -> None:
    answer = await look(house, browser, query)
    assert len(ROW.findall(answer.text)) == number
    assert sorted(chips(answer)) == sorted(said)


async def test_a_part_can_be_left_out(house: Relay, browser: dict[str, str]) -> None:
    answer = await look(house, browser, "q=sell+rejected&within=hour")
    links = [html.unescape(one) for one in re.findall(r'class="chip" href="([^"]+)"', answer.text)]
    assert sorted(links) == [
        "/admin/signals?q=rejected&within=hour",
        "/admin/signals?q=sell&within=hour",
        "/admin/signals?q=sell+rejected",
    ]


async def test_an_id_finds_its_signal(house: Relay, browser: dict[str, str]) -> None:
    (id,) = ROW.findall((await look(house, browser, "q=nyse:brk.b")).text)
    assert ROW.findall((await look(house, browser, f"q={id}")).text) == [id]
    assert id in ROW.findall((await look(house, browser, f"q={id[:8]}")).text)


async def test_sealed_bodies_are_not_searched_and_that_is_said(
    house: Relay, browser: dict[str, str]
) -> None:
    answer = await look(house, browser, "q=%22momentum%22")
    assert len(ROW.findall(answer.text)) == 1, "the password of another is the same word"
    assert "sealed bodies (those with secrets in them) are not searched" in answer.text
    assert "are not searched" not in (await look(house, browser, "q=sell")).text


async def test_a_look_that_ends_early_says_so_and_leads_on(
    house: Relay, browser: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ways, "LOOK", 4)  # two of a text
    seen: list[str] = []
    address = "/admin/signals?q=%22momentum%22"
    for _ in range(5):
        answer = await house.http.get(address, headers=browser)
        seen += ROW.findall(answer.text)
        further = re.search(r'href="([^"]+)" rel="next">Look further back', answer.text)
        if further is None:
            break
        assert re.search(r"(Nothing found, looking|Looked) back to \d\d:\d\d UTC", answer.text)
        address = html.unescape(further[1])
    assert len(seen) == 1


async def test_pages_lead_both_ways(
    house: Relay, browser: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.pages.signals.ROWS", 2)
    first = await look(house, browser)
    pages, answer = [ROW.findall(first.text)], first
    while older := re.search(r'href="([^"]+)" rel="next"', answer.text):
        answer = await house.http.get(html.unescape(older[1]), headers=browser)
        pages.append(ROW.findall(answer.text))
        assert 'data-live="signal' not in answer.text, "a deeper page stays as it is"
    assert [len(one) for one in pages] == [2, 2, 1]
    newer = re.search(r'href="([^"]+)" rel="prev"', answer.text)
    assert newer
    back = await house.http.get(html.unescape(newer[1]), headers=browser)
    assert ROW.findall(back.text) == pages[1]


HOSTILE = [
    "%00",
    "%25",
    "_",
    "%27%3B+DROP+TABLE+signals%3B--",
    "%22%3E%3Cscript%3E",
    "a" * 5000,
    "%F0%9F%92%A9",
]
FIELDS = (
    "q",
    "ticker",
    "side",
    "status",
    "reason",
    "source",
    "destination",
    "within",
    "since",
    "until",
)


@pytest.mark.parametrize("name", [*FIELDS, "before", "after"])
@pytest.mark.parametrize("value", [*HOSTILE, "%ED%A0%80", "-1", "9" * 40, "1e999"])
async def test_whatever_is_asked_is_answered_and_stays_text(
    house: Relay, browser: dict[str, str], name: str, value: str
) -> None:
    for query in (f"{name}={value}", f"{name}={value}&{name}=b", f"{name}[]={value}"):
        answer = await look(house, browser, query)
        assert answer.status_code == 200, answer.text
        assert "<script>" not in answer.text
        assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("side=up", "side: there is none of this name"),
        ("status=gone", "status: there is none of this name"),
        ("destination=nowhere", "destination: there is none of this name"),
        ("since=noon", "since: not a time"),
        ("within=year", "within: one of hour, today, week"),
        ("ticker=%3Cb%3E", "ticker: a ticker is"),
        ("before=x", "cursor is not one of ours"),
    ],
)
async def test_what_means_nothing_finds_nothing_and_says_why(
    house: Relay, browser: dict[str, str], query: str, words: str
) -> None:
    answer = await look(house, browser, query)
    assert words in answer.text
    assert ROW.findall(answer.text) == []


async def test_what_an_outsider_wrote_is_text(house: Relay, browser: dict[str, str]) -> None:
    (id,) = ROW.findall((await look(house, browser, "status=invalid")).text)
    for path in (f"/admin/partials/signals/{id}", f"/admin/signals/{id}"):
        answer = await house.http.get(path, headers=browser)
        assert answer.status_code == 200
        assert "<script>alert" not in answer.text


async def test_the_address_follows_what_is_searched(house: Relay, browser: dict[str, str]) -> None:
    typed = await look(
        house, browser, "q=sell&side=", hx_request="true", hx_target="results", x_typing="yes"
    )
    assert typed.headers["hx-replace-url"] == "/admin/signals?q=sell"
    assert "<html" not in typed.text
    chosen = await look(house, browser, "side=sell", hx_request="true", hx_target="results")
    assert chosen.headers["hx-push-url"] == "/admin/signals?side=sell"
    here = {"hx_current_url": "http://x/admin/signals?side=sell"}
    same = await look(house, browser, "side=sell", hx_request="true", hx_target="results", **here)
    again = await look(house, browser, "side=sell", hx_request="true", hx_target="found")
    for answer in (same, again):
        assert not {"hx-push-url", "hx-replace-url"} & {*answer.headers}


async def test_a_row_unfolds(house: Relay, browser: dict[str, str]) -> None:
    (id,) = ROW.findall((await look(house, browser, "status=delivered")).text)
    answer = await house.http.get(f"/admin/partials/signals/{id}", headers=browser)
    assert "Approved. Rank 1 of 50" in answer.text
    assert "1 attempt, the last: delivered, http 200" in answer.text
    assert f'href="/admin/signals/{id}"' in answer.text


async def submit(house: Relay, browser: dict[str, str], path: str, **fields: str) -> httpx.Response:
    return await house.http.post(f"/admin/signals{path}", data=fields, headers=browser)


async def test_a_filter_is_saved_applied_and_deleted(house: Relay, browser: dict[str, str]) -> None:
    saved = await submit(house, browser, "/filters?q=sell+rejected", name=" my  sells ")
    assert (saved.status_code, saved.headers["location"]) == (303, "/admin/signals?q=sell+rejected")
    page = await look(house, browser, "q=sell+rejected")
    assert "Saved as “my sells”." in page.text
    assert '<a href="/admin/signals?q=sell+rejected">my sells</a>' in page.text
    for name, words in (("", "1 to 40"), ("x" * 41, "1 to 40"), ("a\x00b", "1 to 40")):
        refused = await submit(house, browser, "/filters?q=sell", name=name)
        assert refused.status_code == 400
        assert words in refused.text
    gone = await submit(house, browser, "/filters/delete?q=sell", name="my sells")
    assert gone.status_code == 303
    assert "my sells</a>" not in (await look(house, browser)).text
    again = await submit(house, browser, "/filters/delete", name="my sells")
    assert again.status_code == 404


async def test_names_of_filters_are_text(house: Relay, browser: dict[str, str]) -> None:
    name = "<img src=x onerror=a()>"
    await submit(house, browser, "/filters?side=buy", name=name)
    page = await look(house, browser)
    assert html.escape(name) in page.text
    assert name not in page.text


async def test_an_export_says_what_it_holds_and_keeps_the_filter(
    house: Relay, browser: dict[str, str]
) -> None:
    page = await house.http.get("/admin/signals/export?q=sell+rejected", headers=browser)
    assert "2 signals, each with its events" in page.text
    links = [html.unescape(one) for one in re.findall(r'href="(/api[^"]+)"', page.text)]
    assert links == [
        "/api/signals/export?format=jsonl&q=sell+rejected",
        "/api/signals/export?format=csv&q=sell+rejected",
    ]
    file = await house.http.get(links[0], headers=browser)
    assert file.headers["x-total-count"] == "2"
    assert len(file.text.splitlines()) == 2
    texts = await house.http.get("/api/signals/export?q=%22momentum%22", headers=browser)
    assert "x-total-count" not in texts.headers, "nobody reads all bodies twice"
    assert len(texts.text.splitlines()) == 1
    nothing = await house.http.get("/admin/signals/export?status=held", headers=browser)
    assert "0 signals" in nothing.text
    assert "Download" not in nothing.text


@pytest.mark.parametrize("status", ["dead", "delivered", "expired", "approved", "rejected"])
async def test_an_export_holds_what_the_search_finds(
    house: Relay, browser: dict[str, str], status: str
) -> None:
    file = await house.http.get(f"/api/signals/export?status={status}", headers=browser)
    assert int(file.headers["x-total-count"]) == await found(house, browser, f"status={status}")
    assert len(file.text.splitlines()) == int(file.headers["x-total-count"])


async def test_the_api_takes_the_same_filters(house: Relay) -> None:
    (main,) = (await house.read("/api/destinations"))["items"]
    for query, number in (
        ("q=sell+rejected", 2),
        ("status=delivered", 1),
        ("destination=main", 1),
        (f"destination={main['id']}", 1),
        ("source=tv", 0),
        (f"since={quote('2020-01-01T00:00:00+00:00')}", 5),
        ("q=%22momentum%22", 1),
    ):
        assert len((await house.read(f"/api/signals?{query}"))["items"]) == number, query
    refused = await house.get("/api/signals?destination=nowhere")
    assert (refused.status_code, refused.json()["field"]) == (400, "destination")
