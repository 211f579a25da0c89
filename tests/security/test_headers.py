"""H24: the security headers stand on every answer there is, and what is private is never kept."""

import re
from collections.abc import Sequence

import httpx
import pytest

from tests.web.operating import signed_in
from tests.web.sockets import connected
from tests.web.stage import ADMIN_TOKEN, WEBHOOK_TOKEN, Relay, call, cloned, relay
from tests.web.test_doors import DOORS, NOBODY
from web import dependencies
from web.security import HSTS, SECURITY_HEADERS
from web.static import ADDRESS, FOLDER

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVERYWHERE = {name.decode(): value.decode() for name, value in SECURITY_HEADERS.items()}
YEAR = 365 * 24 * 3600
GIVEN = {"id": NOBODY, "delivery": NOBODY, "version": 0, "name": "nobody", "ticker": "NONE"}
PATHS = sorted({path.format(**GIVEN, order="pause", verb="drop") for _, path in DOORS})
HTML = {"accept": "text/html"}


def wrong(answer: httpx.Response, kept: str = "no-store") -> list[str]:
    """What is not as it should be about the headers of an answer."""
    given = answer.headers
    expected = EVERYWHERE | {"cache-control": kept}
    found = [n for n, value in expected.items() if given.get_list(n) != [value]]
    kind = given.get("content-type", "")
    if re.match(r"text/|\S+[/+]xml", kind) and "charset=utf-8" not in kind:
        found.append(kind)
    if answer.content and not kind:
        found.append("no content-type")
    return found + [name for name in ("server", "x-powered-by") if name in given]


def told(answer: httpx.Response) -> str:
    return f"{answer.request.method} {answer.request.url.path} {answer.status_code}"


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PATCH", "TRACE", "NONSENSE"])
async def test_every_path_by_every_method_for_nobody(shared: Relay, method: str) -> None:
    for path in [*PATHS, "/webhook/in", "/ws/live", "/docs", "/redoc", "/no/such/page"]:
        answer = await shared.http.request(method, path, follow_redirects=False)
        assert wrong(answer) == [], told(answer)


async def test_every_page_and_answer_for_an_operator(shared: Relay) -> None:
    browser = await signed_in(shared)
    for path in PATHS:
        for accept in ({}, HTML):
            answer = await shared.http.get(path, headers=browser | accept, follow_redirects=False)
            assert wrong(answer) == [], told(answer)


FAILURES: Sequence[tuple[str, str, int, dict[str, str], bytes]] = [
    ("GET", "/health/", 307, {}, b""),
    ("GET", "/", 307, {}, b""),
    ("GET", "/admin", 303, {}, b""),
    ("GET", "/admin/no-such-page", 404, HTML, b""),
    ("GET", "/api/signals/x", 401, {}, b""),
    ("DELETE", "/health", 405, {}, b""),
    ("POST", "/webhook/in", 401, {}, b""),
    ("GET", "/webhook/in", 405, {}, b""),
    ("POST", f"/webhook/in/{WEBHOOK_TOKEN}", 400, {}, b""),
    ("POST", f"/webhook/in/{WEBHOOK_TOKEN}", 413, {}, b"x" * 70_000),
    ("POST", f"/webhook/in/{WEBHOOK_TOKEN}", 415, {"content-encoding": "gzip"}, b"x"),
    ("POST", f"/webhook/in/{WEBHOOK_TOKEN}", 422, {}, b'{"ticker": "AAPL", "action": "up"}'),
    ("POST", "/admin/login", 413, {}, b"x" * 70_000),
    ("POST", "/admin/login", 401, {}, b"token=wrong"),
    ("POST", "/admin/login", 403, {"origin": "https://elsewhere.example"}, b"token=wrong"),
    ("POST", "/finviz/config", 400, {}, b""),
]


@pytest.mark.parametrize(("method", "path", "status", "headers", "body"), FAILURES)
async def test_what_is_refused(
    shared: Relay, method: str, path: str, status: int, headers: dict[str, str], body: bytes
) -> None:
    answer = await shared.http.request(
        method, path, follow_redirects=False, headers=headers, content=body
    )
    assert answer.status_code == status
    assert wrong(answer) == []
    assert WEBHOOK_TOKEN not in answer.text + str(answer.headers)


@pytest.mark.parametrize(("error", "status"), [(RuntimeError, 500), (ConnectionRefusedError, 503)])
async def test_what_fails(
    shared: Relay, monkeypatch: pytest.MonkeyPatch, error: type[Exception], status: int
) -> None:
    """The last resort says nothing of what went wrong, in the same headers."""

    def fail(_connection: object) -> str:
        raise error("the password of a destination")

    monkeypatch.setattr(dependencies, "bearer", fail)
    transport = httpx.ASGITransport(
        shared.app, raise_app_exceptions=False, client=("127.0.0.1", 40_000)
    )
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as http:
        answer = await http.get("/status")
    assert answer.status_code == status
    assert wrong(answer) == []
    assert "password" not in answer.text


async def test_a_refused_socket(shared: Relay) -> None:
    for headers in ({}, {"origin": "https://elsewhere.example"}):
        async with connected(shared.app, headers) as socket:
            assert socket.status in {401, 403}
            assert {n: socket.headers.get(n) for n in EVERYWHERE} == EVERYWHERE


# ── Our own files ───────────────────────────────────────────────────────────────────────────

FILES = sorted(p.relative_to(FOLDER).as_posix() for p in FOLDER.rglob("*") if p.is_file())


async def test_our_files_are_kept_under_the_address_of_their_edition_only(shared: Relay) -> None:
    """They are public; asked for once, a page is painted without another round trip."""
    for file in FILES:
        answer = await shared.http.get(f"{ADDRESS}/{file}")
        assert wrong(answer, "public, max-age=31536000, immutable") == [], file
        for old in ("/static", "/static/0123456789ab"):
            again = await shared.http.get(f"{old}/{file}")
            assert wrong(again, "no-cache") == [], file
            assert again.content == answer.content
        known = {"if-none-match": answer.headers["etag"]}
        asked = await shared.http.get(f"/static/{file}", headers=known)
        assert (asked.status_code, wrong(asked, "no-cache")) == (304, [])


@pytest.mark.parametrize(
    "path",
    [
        *("none.css", "..", "../main.py", "%2e%2e/main.py", "..%2fmain.py", "js", "js/", ""),
        *("../static/app.css/../../main.py", "/etc/passwd", "%2fetc/passwd", "..\\main.py"),
    ],
)
async def test_nothing_else_is_a_file_of_ours(shared: Relay, path: str) -> None:
    for address in ("/static", ADDRESS):
        answer = await call(shared.app, "GET", f"{address}/{path}")
        assert answer.status in {404, 405}
        assert answer.headers["cache-control"] == "no-store"


async def test_pages_name_files_of_this_edition_only(shared: Relay) -> None:
    browser = await signed_in(shared)
    for path in ("/admin", "/admin/login", "/admin/signals", "/admin/list", "/admin/settings"):
        page = (await shared.http.get(path, headers=browser)).text
        named = re.findall(r'(?:src|href)="(/static/[^"]+)"', page)
        assert named
        assert all(one.startswith(f"{ADDRESS}/") for one in named)
        assert {one.removeprefix(f"{ADDRESS}/") for one in named} <= set(FILES)


# ── By https, and what the policies say ─────────────────────────────────────────────────────


def hsts(answer: httpx.Response) -> list[str]:
    return answer.headers.get_list(HSTS[0].decode())


async def test_by_https_the_browser_is_told_to_come_by_nothing_else(shared: Relay) -> None:
    transport = httpx.ASGITransport(shared.app, client=("203.0.113.9", 40_000))
    async with httpx.AsyncClient(transport=transport, base_url="https://relay.example") as http:
        for path in ("/", "/health", "/admin/login", f"{ADDRESS}/app.css", "/none", "/webhook/in"):
            [line] = hsts(await http.get(path, follow_redirects=False))
            most = re.fullmatch(r"max-age=(\d+); includeSubDomains", line)
            assert most
            assert int(most[1]) >= YEAR
    assert hsts(await shared.http.get("/health")) == []


async def test_the_public_address_says_so_too(template: str) -> None:
    async with (
        cloned(template) as url,
        relay(url, wait=False, public_url="https://relay.example") as one,
    ):
        assert len(hsts(await one.http.get("/health"))) == 1
        answer = await one.http.get("/health", headers={"authorization": f"Bearer {ADMIN_TOKEN}"})
        assert wrong(answer) == []


async def test_the_policy_allows_nothing_inline_and_nobody_elses() -> None:
    policy = dict(part.split(" ", 1) for part in EVERYWHERE["content-security-policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": "'self'",
        "img-src": "'self' data:",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "default",
    }


async def test_no_page_may_use_what_none_of_ours_does() -> None:
    features = EVERYWHERE["permissions-policy"].split(", ")
    assert all(one.endswith("=()") for one in features)
    assert {"camera=()", "geolocation=()", "microphone=()", "payment=()", "usb=()"} <= set(features)
