import logging
from collections.abc import AsyncGenerator, Callable
from datetime import timedelta
from urllib.parse import quote

import httpx
import pytest
from aiolimiter import AsyncLimiter

from demo.finviz import FAULTS, MADE_FAULTS, Account, MadeUpFinviz, Reply, made_up_market
from domain.screen import Screen, parse_screen_url
from domain.universe import FetchOutcome
from engines.universe.finviz import FinvizSource
from engines.universe.finviz_login import NOT_ELITE, REFUSED, Login, Session
from engines.universe.source import Answer
from tests.conftest import FrozenClock
from tests.engines.finviz_pages import page_in

BASE = "http://finviz.test"
TOKEN = "5e3cre7-t0ken/with+signs"  # a made-up one
EMAIL, PASSWORD = "jane.doe+finviz@example.org", "tr0ub4dor&3 and more"
ACCOUNT = Account(email=EMAIL, password=PASSWORD)
LOGIN = Login(EMAIL, PASSWORD)
SCREEN = Screen(
    url=parse_screen_url("https://finviz.com/screener.ashx?v=111&o=-change"),
    top_n=25,
    refresh=timedelta(minutes=3),
)
SIGN_IN, PAGES = ["/login_submit.ashx"], ["/screener.ashx", "/screener.ashx"]

Sources = Callable[..., FinvizSource]


@pytest.fixture
def finviz() -> MadeUpFinviz:
    return MadeUpFinviz(made_up_market(7, 55), token=TOKEN, account=ACCOUNT)


@pytest.fixture
async def source(finviz: MadeUpFinviz, clock: FrozenClock) -> AsyncGenerator[Sources]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(finviz)) as http:

        def build(*, token: str | None = None, login: Login | None = LOGIN) -> FinvizSource:
            return FinvizSource(
                http=http,
                clock=clock,
                base_url=BASE,
                token=token,
                login=login,
                spacing=AsyncLimiter(1, 0.001),
            )

        yield build


def asked(finviz: MadeUpFinviz) -> list[str]:
    """The paths asked for since the last time."""
    paths = [arrival.path for arrival in finviz.arrivals]
    finviz.arrivals.clear()
    return paths


def whole(answer: Answer, finviz: MadeUpFinviz) -> bool:
    listed = [listing.ticker for listing in finviz.market[:40]]
    return answer.outcome is FetchOutcome.OK and list(answer.tickers) == listed


# ── Signing in ──────────────────────────────────────────────────────────────────────────────


async def test_who_has_signed_in_stays_so(finviz: MadeUpFinviz, source: Sources) -> None:
    looking, finviz.walled = source(), True
    first = await looking.fetch(SCREEN)
    assert (whole(first, finviz), first.pages, first.premium) == (True, 3, True)
    assert first.detail == "40 of 55 rows; requests: 3"
    cookies = [arrival.headers.get("cookie") for arrival in finviz.arrivals]
    assert cookies == [None, *[".ASPXAUTH=made-up-session-1"] * 2]
    assert asked(finviz) == [*SIGN_IN, *PAGES]
    assert whole(await looking.fetch(SCREEN), finviz)
    assert asked(finviz) == PAGES


async def test_signing_in_has_had_two_addresses(finviz: MadeUpFinviz, source: Sources) -> None:
    finviz.sign_in_at = "/login_submit"
    assert whole(await source().fetch(SCREEN), finviz)
    assert asked(finviz) == [*SIGN_IN, "/login_submit", *PAGES]

    elsewhere = Reply(301, b"", {"location": "https://elsewhere.test/login_submit"})
    finviz.before = lambda it: finviz.answer_with(elsewhere if it.path in SIGN_IN else None)
    assert whole(await source().fetch(SCREEN), finviz)
    assert {arrival.headers["host"] for arrival in finviz.arrivals} == {"finviz.test"}
    assert asked(finviz) == [*SIGN_IN, "/login_submit", *PAGES]


TRACKED = {"set-cookie": "__cf_bm=1; path=/", "content-type": "text/html"}
COOKIE = {"set-cookie": ".ASPXAUTH=1; path=/"}


@pytest.mark.parametrize(
    "reply",
    [
        None,
        FAULTS["login"],
        Reply(200, FAULTS["login"].body, COOKIE),
        Reply(200, b"welcome"),
        Reply(200, b"welcome", TRACKED),
        Reply(200, b"", {"set-cookie": ".ASPXAUTH=; expires=Thu, 01 Jan 1970 00:00:00 GMT"}),
        Reply(302, b"", COOKIE | {"location": "/login?e=1"}),
        Reply(302, b"", COOKIE | {"location": "/login_submit"}),
        Reply(401, b"", COOKIE),
    ],
)
async def test_who_is_not_let_in_reads_nothing(
    finviz: MadeUpFinviz, source: Sources, reply: Reply | None
) -> None:
    finviz.answer_with(reply)
    answer = await source(login=Login(EMAIL, "another")).fetch(SCREEN)
    assert (answer.outcome, answer.detail, answer.rows) == (FetchOutcome.LOGIN, REFUSED, ())
    assert not set(asked(finviz)) & set(PAGES)


@pytest.mark.parametrize(
    ("fault", "outcome", "wish"),
    [
        ("throttled", "throttled", None),
        ("throttled_429", "throttled", 60),
        ("blocked", "blocked", None),
        ("maintenance", "blocked", 120),
        ("failing", "unreachable", None),
    ],
)
async def test_a_refusal_to_talk_is_not_blamed_on_the_password(
    finviz: MadeUpFinviz, source: Sources, fault: str, outcome: str, wish: float | None
) -> None:
    finviz.answer_with(fault)
    answer = await source().fetch(SCREEN)
    assert (answer.outcome, asked(finviz)) == (outcome, SIGN_IN)
    assert answer.retry_after == (None if wish is None else timedelta(seconds=wish))


async def test_where_signing_in_leads_to_is_not_followed(
    finviz: MadeUpFinviz, source: Sources
) -> None:
    leads = COOKIE | {"location": f"https://elsewhere.test/?e={EMAIL}"}
    finviz.sessions.add("1")
    finviz.before = lambda it: finviz.answer_with(
        Reply(302, b"", leads) if it.path in SIGN_IN else None
    )
    assert whole(await source().fetch(SCREEN), finviz)
    assert {arrival.headers["host"] for arrival in finviz.arrivals} == {"finviz.test"}
    assert asked(finviz) == [*SIGN_IN, *PAGES]


# ── A session that ends ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("walled", [True, False])
async def test_a_session_that_ended_is_begun_again(
    finviz: MadeUpFinviz,
    source: Sources,
    walled: bool,  # noqa: FBT001  a parameter of the test
) -> None:
    looking, finviz.walled = source(), walled
    await looking.fetch(SCREEN)
    finviz.sessions.clear()
    asked(finviz)
    again = await looking.fetch(SCREEN)
    assert (whole(again, finviz), again.premium) == (True, True)
    assert asked(finviz) == ["/screener.ashx", *SIGN_IN, *PAGES]


async def test_a_session_is_begun_again_once_in_a_look(
    finviz: MadeUpFinviz, source: Sources
) -> None:
    looking, finviz.walled = source(), True
    await looking.fetch(SCREEN)
    finviz.before = lambda _: finviz.sessions.clear()
    asked(finviz)
    answer = await looking.fetch(SCREEN)
    assert (answer.outcome, answer.detail, answer.rows) == (FetchOutcome.LOGIN, REFUSED, ())
    assert asked(finviz) == ["/screener.ashx", *SIGN_IN, "/screener.ashx"]
    await looking.fetch(SCREEN)
    assert asked(finviz) == [*SIGN_IN, "/screener.ashx"]


async def test_an_account_that_is_not_elite_is_read_and_said(
    finviz: MadeUpFinviz, source: Sources
) -> None:
    finviz.account = Account(email=EMAIL, password=PASSWORD, elite=False)
    looking = source()
    for paths in ([*SIGN_IN, *PAGES], PAGES):
        answer = await looking.fetch(SCREEN)
        assert (whole(answer, finviz), answer.premium) == (True, False)
        assert answer.detail.startswith(f"{NOT_ELITE}; 40 of 55 rows")
        assert asked(finviz) == paths


async def test_an_account_that_is_elite_no_longer_signs_in_once_more(
    finviz: MadeUpFinviz, source: Sources
) -> None:
    looking = source()
    await looking.fetch(SCREEN)
    finviz.account = Account(email=EMAIL, password=PASSWORD, elite=False)
    asked(finviz)
    for paths in (["/screener.ashx", *SIGN_IN, *PAGES], PAGES):
        answer = await looking.fetch(SCREEN)
        assert whole(answer, finviz)
        assert NOT_ELITE in answer.detail
        assert asked(finviz) == paths


async def test_a_bad_page_is_no_reason_to_sign_in_again(
    finviz: MadeUpFinviz, source: Sources
) -> None:
    looking = source()
    await looking.fetch(SCREEN)
    for fault in ("throttled", "blocked", "failing", "nothing", "cut_off", "half_the_rows"):
        asked(finviz)
        finviz.answer_with(fault)
        assert not (await looking.fetch(SCREEN)).outcome.is_list
        assert asked(finviz) == ["/screener.ashx"]
    finviz.answer_with(None)
    assert whole(await looking.fetch(SCREEN), finviz)


# ── Beside a token ──────────────────────────────────────────────────────────────────────────


async def test_a_token_goes_before_a_login(finviz: MadeUpFinviz, source: Sources) -> None:
    answer = await source(token=TOKEN).fetch(SCREEN)
    assert (len(answer.rows), answer.premium) == (25, True)
    assert asked(finviz) == ["/export.ashx"]


async def test_a_refused_token_is_said_in_words(source: Sources) -> None:
    answer = await source(token="of-somebody-else", login=None).fetch(SCREEN)
    assert answer.outcome is FetchOutcome.WRONG_PAGE
    assert "the export token is wrong" in answer.detail


async def test_with_a_refused_token_the_pages_are_read(
    finviz: MadeUpFinviz, source: Sources
) -> None:
    looking = source(token="of-somebody-else")
    answer = await looking.fetch(SCREEN)
    assert (whole(answer, finviz), answer.premium, answer.pages) == (True, True, 4)
    assert "the export token is wrong" in answer.detail
    assert "read as signed-in pages; 40 of 55 rows" in answer.detail
    assert asked(finviz) == ["/export.ashx", *SIGN_IN, *PAGES]
    finviz.account = None
    finviz.walled, finviz.sessions = True, set()
    answer = await looking.fetch(SCREEN)
    assert (answer.outcome, answer.rows) == (FetchOutcome.WRONG_PAGE, ())


@pytest.mark.parametrize("fault", ["throttled", "blocked", "failing", "cut_off"])
async def test_an_export_that_fails_otherwise_is_not_replaced(
    finviz: MadeUpFinviz, source: Sources, fault: str
) -> None:
    finviz.answer_with(fault)
    assert not (await source(token=TOKEN).fetch(SCREEN)).outcome.is_list
    assert asked(finviz) == ["/export.ashx"]


# ── Secrets ─────────────────────────────────────────────────────────────────────────────────

SESSION_VALUE = "made-up-session-1"
OURS = (EMAIL, PASSWORD, SESSION_VALUE)
ECHOES = [
    *(Reply(200, f"Ticker\nXX{secret}\n".encode()) for secret in (TOKEN, EMAIL, PASSWORD)),
    *(Reply(200, page_in("C", (secret, "AA"), step=20).encode()) for secret in OURS),
    Reply(302, b"", {"location": f"http://elsewhere.test/?auth={TOKEN}&email={EMAIL}"}),
    Reply(302, b"", {"location": f"?auth={TOKEN}&email={EMAIL}&password={quote(PASSWORD)}"}),
]


@pytest.mark.parametrize("fault", [None, *FAULTS, *sorted(MADE_FAULTS), *ECHOES])
@pytest.mark.parametrize("where", ["everywhere", "on pages", "when signing in"])
@pytest.mark.parametrize("token", [TOKEN, "of-somebody-else", None])
async def test_a_secret_is_told_to_nobody(
    finviz: MadeUpFinviz,
    source: Sources,
    caplog: pytest.LogCaptureFixture,
    fault: str | Reply | None,
    where: str,
    token: str | None,
) -> None:
    at = {"on pages": PAGES, "when signing in": SIGN_IN}.get(where, ["/export.ashx", *PAGES])
    finviz.before = lambda it: finviz.answer_with(fault if it.path in at else None)
    looking = source(token=token)
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, "httpx"):
        answers = [await looking.fetch(SCREEN) for _ in range(2)]
    assert "HTTP Request" in caplog.text, "httpx told what it asked for"
    told = " ".join([repr(answers), *(answer.detail for answer in answers), caplog.text])
    for secret in (token or EMAIL, EMAIL, PASSWORD, SESSION_VALUE):
        assert secret[:8].lower() not in told.lower()


def test_the_parts_do_not_tell_it_either() -> None:
    shown = repr(LOGIN) + repr(Session(BASE, LOGIN))
    assert EMAIL not in shown
    assert PASSWORD not in shown
