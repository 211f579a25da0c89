"""H8: whatever outsiders wrote, in a real browser no page runs it, fetches for it, or breaks."""

import asyncio
from collections.abc import Sequence
from urllib.parse import quote

import pytest
from playwright.async_api import Browser, Page

from tests.pages import hostile
from tests.pages.conftest import House, Looks, Visitor, window
from tests.pages.test_pages import BOTH, WIDE
from tests.security.xss import PAYLOADS, packed
from tests.web.stage import ADMIN_TOKEN

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.browser,
    pytest.mark.timeout(300),
]

WATCH = """
  window.pwned = [];
  window.pwn = (...given) => { window.pwned.push(String(given)); };
  for (const name of ["alert", "confirm", "prompt", "print"]) window[name] = window.pwn;
  document.addEventListener("securitypolicyviolation", (event) => {
    window.pwned.push(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
  });
"""
ALIENS = """(root) => [...(root ?? document.body).querySelectorAll("*")].filter((one) =>
  one.matches("script, img, image, iframe, object, embed, style, link, base, meta, math, video,"
    + "audio, track, source, marquee, frameset, applet, portal, fencedframe, foreignObject, use,"
    + "animate, set, isindex, keygen, xmp, listing, plaintext, [autofocus]:not(#token),"
    + "[srcdoc], [background], [formaction], [ping], [xlink\\\\:href], [sse-connect], [ws-connect]")
  || [...one.attributes].some((a) => /^(on|(data-)?hx-(on|v|headers|request))/.test(a.name))
  || ["javascript:", "data:", "vbscript:"].includes(one.protocol)
  || one.hostname === "elsewhere.example"
  || ["hx-get", "hx-post", "action", "src"].some((name) =>
    one.hasAttribute(name) && !one.getAttribute(name).startsWith("/admin"))
).map((one) => one.outerHTML.slice(0, 200))"""
"""What none of our pages has, and only a payload that became markup would."""

SEEN = """(payloads) => {
  const said = [document.body.textContent];
  for (const one of document.body.querySelectorAll("*")) {
    for (const a of one.attributes) said.push(a.value);
    if (one.value) said.push(one.value);
  }
  const plain = (text) => text.replace(/[\\s\\p{C}\\\\]+/gu, "");
  const all = plain(said.join("\\n"));
  return payloads.filter((one) => all.includes(plain(one))).length;
}"""
"""How many of the payloads stand on the page, as the texts they are."""


async def check_inert(visitor: Visitor, where: str) -> None:
    assert await visitor.page.evaluate("window.pwned") == [], where
    assert await visitor.page.evaluate(ALIENS) == [], where
    assert visitor.complaints == [], where


async def visit(visitor: Visitor, path: str) -> int:
    """Look at a page; how many payloads it shows."""
    answer = await visitor.page.goto(f"{visitor.house.url}{path}")
    assert answer
    assert answer.ok, f"{path}: {answer.status}"
    await check_inert(visitor, path)
    return await visitor.page.evaluate(SEEN, PAYLOADS)


SHOWN: dict[str, int] = {
    "/admin": 5,
    "/admin/signals": 40,
    "/admin/activity": 40,
    "/admin/attention": 5,
    "/admin/positions": 200,
    "/admin/list": 0,
    "/admin/list/whatif": 0,
    "/admin/list/history": 0,
    "/admin/list/looks": 40,
    "/admin/list/screens": 200,
    "/admin/settings/tokens": 200,
    "/admin/settings/sessions": 200,
    "/admin/settings/environment": 0,
    "/admin/settings/files": 0,
    "/admin/destinations": 0,
}
"""Pages, and how many of all payloads each shows at least: long lists have fifty rows."""


async def fill(house: House, payloads: Sequence[str]) -> tuple[list[str], list[str]]:
    """Everything that can be written; signals that show much, and all others."""
    many = await hostile.delivered(house, payloads)
    await hostile.tables(house, payloads)
    kept = await hostile.imported(house, payloads)
    return many, [*kept, *await hostile.alerts(house, payloads)]


async def watched(page: Page) -> None:
    await page.add_init_script(WATCH)
    page.on("dialog", lambda one: asyncio.ensure_future(one.dismiss()))


SEARCH = """async (texts) => {
  const aliens = ALIENS, found = [];
  for (const text of texts) {
    const asked = { q: text, ticker: text, source: text, since: text, before: text, [text]: text };
    const answer = await fetch("/admin/partials/signals?" + new URLSearchParams(asked));
    const parsed = new DOMParser().parseFromString(await answer.text(), "text/html");
    found.push(...aliens(parsed.body));
  }
  return found;
}""".replace("ALIENS", ALIENS)
"""Search for each, and what of the answers would be more than text."""


async def search(visitor: Visitor, texts: Sequence[str]) -> None:
    await visitor.page.goto(f"{visitor.house.url}/admin/signals")
    assert await visitor.page.evaluate(SEARCH, texts) == []
    await check_inert(visitor, "the search")
    for text in texts[::12]:
        async with visitor.page.expect_response("**/partials/signals?**"):
            await visitor.page.locator("#search-q").fill(text)
        await check_inert(visitor, text)


async def test_nothing_an_outsider_wrote_runs_on_any_page(browser: Browser, house: House) -> None:
    """H8: 200 payloads by eight inlets: 0 run, 0 reports of the policy, 0 requests elsewhere."""
    async with window(browser, house, WIDE) as live, window(browser, house, WIDE) as visitor:
        for one in (live, visitor):
            await watched(one.page)
            await one.enter("/signals")
        many, single = await fill(house, PAYLOADS)
        for path, least in SHOWN.items():
            assert await visit(visitor, path) >= least, path
        shown = [await visit(visitor, f"/admin/signals/{id}") for id in many]
        assert sum(shown) >= len(PAYLOADS), "in a body, and in what was answered"
        for id in (single[3], single[-3]):
            assert await visit(visitor, f"/admin/signals/{id}") >= 1
        for text in packed(200)[::12]:
            asked = quote(text)
            path = f"/admin/signals?q={asked}&ticker={asked}&{asked}={asked}#{text}"
            assert await visit(visitor, path) >= 1
            await visit(visitor, f"/admin/login?to={asked}&ended={asked}#{asked}")
        await search(visitor, packed(200))
        await (
            live.page.get_by_role("button", name="new signals")
            .or_(live.page.locator("#found tbody tr"))
            .first.wait_for()
        )
        await check_inert(live, "a page that was live while they came")


@pytest.mark.slow
async def test_the_payloads_are_sharp(browser: Browser, request: pytest.FixtureRequest) -> None:
    """Where they become markup and no policy holds them, many run by themselves."""
    if not request.config.getoption("--long"):
        pytest.skip("211 frames: --long")
    context = await browser.new_context()
    await context.set_offline(True)
    page = await context.new_page()
    hit: list[int] = await page.evaluate(
        """async (payloads) => {
          window.hit = new Set();
          payloads.forEach((text, n) => {
            const frame = document.createElement("iframe");
            frame.srcdoc = `<script>window.pwn = () => parent.hit.add(${n})</script>${text}`;
            document.body.append(frame);
          });
          await new Promise((done) => { setTimeout(done, 10_000); });
          return [...window.hit];
        }""",
        PAYLOADS,
    )
    await context.close()
    assert len(PAYLOADS) >= 200
    assert len(hit) >= 50


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("looks", BOTH, ids=lambda looks: f"{looks.scheme} {looks.name}")
async def test_each_payload_by_itself_on_every_page(
    browser: Browser, house: House, looks: Looks, request: pytest.FixtureRequest
) -> None:
    """H8, the long form: in both themes, so that none hides behind another."""
    if not request.config.getoption("--long"):
        pytest.skip("211 payloads one by one: --long")
    async with window(browser, house, looks) as visitor:
        await watched(visitor.page)
        await visitor.enter("/signals")
        for payload in PAYLOADS:
            await house.relay.execute("DELETE FROM dedupe_keys")
            for table in ("fetches", "attention", "saved_filters", "sell_list"):
                await house.relay.execute(f"DELETE FROM {table}")
            many, single = await fill(house, [payload])
            asked = quote(payload)
            paths = [f"/admin/signals/{id}" for id in (*many, *single)]
            for path in (*SHOWN, *paths, f"/admin/signals?q={asked}", f"/admin/login?to={asked}"):
                await visit(visitor, path)


async def test_nothing_secret_is_kept_where_a_script_could_read_it(
    browser: Browser, house: House
) -> None:
    """H11: no token and no session in a storage, the address, the history or a cookie it sees."""
    async with window(browser, house, WIDE) as visitor:
        await visitor.sign_in()
        await visitor.page.goto(f"{house.url}/admin/signals?q=x")
        [cookie] = await visitor.page.context.cookies()
        kept: str = await visitor.page.evaluate(
            """async () => JSON.stringify([document.cookie, { ...localStorage },
                { ...sessionStorage }, await indexedDB.databases(), await caches.keys(),
                history.state, window.name, location.href, document.referrer])"""
        )
        page = await visitor.page.content()
    assert cookie.get("httpOnly")
    assert cookie.get("sameSite") == "Strict"
    assert cookie.get("path") == "/"
    for secret in (ADMIN_TOKEN, cookie.get("value", "")):
        assert secret
        assert secret not in kept
        assert secret not in page
    assert kept.startswith('["",{},{"htmx-current-path-for-history":"/admin/signals?q=x"},[],[]')
