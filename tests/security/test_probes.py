"""H7: a test of a destination or a channel tells nothing of networks of ours, by call or by button.

Whether a port there is open, closed or filtered, and whether a name exists there at all.
"""

import asyncio
import json
import re
import socket
from collections.abc import AsyncGenerator, Mapping
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from database.pool import Database
from demo.finviz import MadeUpFinviz, made_up_market
from main import Outside, build
from tests.security.canary import Answers, Canary, share_context, watch
from tests.web.operating import ask, create, signed_in
from tests.web.stage import LEISURE, Destination, Relay, alive, cloned, settings

pytestmark = pytest.mark.asyncio(loop_scope="module")

OPEN = "127.83.83.1"
PORT = 8443
NAMES: Mapping[str, list[str]] = {
    "open.example": [OPEN],
    "closed.example": ["127.83.83.2"],
    "filtered.example": ["10.255.255.1"],
    "metadata.example": ["169.254.169.254"],
    "mixed.example": ["93.184.216.34", OPEN],
    "sixth.example": ["::1"],
    "mapped.example": ["::ffff:10.0.0.1"],
    "unknown.example": [],
    "public.example": ["93.184.216.34"],
}
REFUSED = sorted({*NAMES, "0x7f.0x53.0x53.1", "127.1"} - {"public.example"})
OWN = re.compile(r"test_[0-9a-f-]{36}|\d{4}-\d\d-\d\d[T ][\d:.]+Z?|\b\d{10}\b|[0-9a-f-]{36}")
"""What is another in every answer: ids and times."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(template: str) -> AsyncGenerator[Relay]:
    """A relay whose destinations and channels are reached as they are in earnest."""
    finviz = MadeUpFinviz(made_up_market(3, 60), step=100)
    async with cloned(template) as url:
        outside = Outside(finviz=httpx.ASGITransport(finviz))
        built = build(settings(), url, outside=outside, check_durability=False, leisure=LEISURE)
        database = Database.connect(url, pool=2, patience=timedelta(seconds=20))
        async with (
            alive(built) as app,
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app, client=("127.0.0.1", 40_000)),
                base_url="http://127.0.0.1:8000",
            ) as http,
        ):
            yield Relay(app, http, database, finviz, Destination())
        await database.close()


@pytest.fixture
def canary(monkeypatch: pytest.MonkeyPatch) -> Canary:
    one = Canary()
    share_context(monkeypatch)
    watch(monkeypatch, one)
    system = socket.getaddrinfo

    async def getaddrinfo(
        _: asyncio.AbstractEventLoop, host: str, port: int, **given: Any
    ) -> Answers:
        if host not in NAMES:
            return system(host, port, **given)
        if not NAMES[host]:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [one for text in NAMES[host] for one in system(text, port, **given)]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    return one


def alike(answer: httpx.Response) -> str:
    """An answer without what is another every time."""
    words = OWN.sub("#", answer.text)
    headers = sorted({name for name in answer.headers if name != "content-length"})
    return f"{answer.status_code} {headers} {words}"


async def called(house: Relay, host: str) -> tuple[str, str]:
    """What the call says of a test of a destination, and the audit trail."""
    one = await create(house, url=f"https://{host}:{PORT}/a-secret")
    answer = await ask(house, "POST", f"/api/destinations/{one['id']}/test")
    assert answer.status_code == 200, answer.text
    (event,) = await house.rows(
        "SELECT detail FROM events WHERE event = 'destination.tested'"
        " AND detail->>'destination_id' = :id",
        id=one["id"],
    )
    detail = {k: v for k, v in event.detail.items() if k not in {"destination_id", "name"}}
    return alike(answer), json.dumps(detail, sort_keys=True)


async def pressed(house: Relay, host: str, browser: dict[str, str]) -> str:
    """What the button on the page of a destination says."""
    one = await create(house, url=f"https://{host}:{PORT}/a-secret")
    path = f"/admin/destinations/{one['id']}"
    answer = await house.http.post(f"{path}/test", headers=browser)
    assert answer.status_code == 303, answer.text
    page = (await house.http.get(path, headers=browser)).text
    (words,) = re.findall(r"Test sent\.[^<]*", page)
    return words


async def noticed(house: Relay, host: str) -> str:
    """What the call says of a test of a channel."""
    url = f"https://{host}:{PORT}/a-secret"
    given = {"name": f"c-{uuid4().hex[:8]}", "kind": "webhook", "url": url}
    made = await ask(house, "POST", "/api/channels", given)
    assert made.status_code == 201, made.text
    return alike(await ask(house, "POST", f"/api/channels/{made.json()['id']}/test"))


async def test_every_refused_probe_is_answered_in_the_same_bytes(
    house: Relay, canary: Canary
) -> None:
    browser = await signed_in(house)
    async with await asyncio.start_server(canary.talk, OPEN, PORT, reuse_port=True):
        calls = {host: await called(house, host) for host in REFUSED}
        words = {host: await pressed(house, host, browser) for host in REFUSED}
        notices = {host: await noticed(house, host) for host in REFUSED}
    for answers in (calls, words, notices):
        assert len(set(answers.values())) == 1, answers
    assert (canary.dialled, canary.met) == ([], 0)
    call, trail = calls["open.example"]
    assert '"error":"no address to send to"' in call
    assert '"duration_ms":0' in call
    assert '"duration_ms": 0' in trail
    assert "does not exist, or leads to a private or special address" in words["open.example"]
    assert '"error":"no address to send to"' in notices["open.example"]


async def test_of_what_is_public_an_operator_is_told_what_went_wrong(
    house: Relay, canary: Canary
) -> None:
    answer, _ = await called(house, "public.example")
    assert '"error":"ConnectError"' in answer
    assert '"error":"ConnectError"' in await noticed(house, "public.example")
    assert canary.dialled == ["93.184.216.34"] * 2


@pytest.mark.parametrize("path", ["/api/destinations", "/api/channels"])
async def test_addresses_written_as_numbers_are_refused_in_the_same_words(
    house: Relay, canary: Canary, path: str
) -> None:
    """When they are entered already, and without a look at what is there."""
    kind = {"kind": "webhook"} if path == "/api/channels" else {}
    hosts = (OPEN, "10.255.255.1", "169.254.169.254", "[::1]", "[::ffff:10.0.0.1]", "0.0.0.0")
    answers = {
        alike(
            await ask(house, "POST", path, {"name": "n", "url": f"https://{host}:{PORT}/x"} | kind)
        )
        for host in hosts
    }
    assert len(answers) == 1, answers
    assert "private or special address" in answers.pop()
    assert canary.dialled == []
