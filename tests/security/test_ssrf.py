"""H5: no spelling of an address, and no resolver, leads a request to where none may go."""

import ipaddress
import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Collection, Iterable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from domain.address import DestinationUrlError, Network, check_destination_url, port_of
from domain.delivery import Answer, Outcome
from engines.destinations.client import DestinationClient
from tests.engines.loopback import BODY, HEADERS, LOOPBACK, answering, leaves, loopback
from tests.security.canary import Canary, is_public, listening, resolve, share_context, watch
from tests.security.forms import TARGETS, by_chance, carriers, forms

ROOT = Path(__file__).parents[2]
PUBLIC = "93.184.216.34"
HERE = ("127.0.0.1", "::1", "10.0.0.1", "169.254.169.254")
SHORT, LONG = 1_000, 10_000


@pytest.fixture
async def canary(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Canary]:
    share_context(monkeypatch)
    async with listening() as one:
        watch(monkeypatch, one)
        yield one


async def post(url: str, private: Collection[Network] = ()) -> Answer:
    """As it is, past the check of what is entered: what is dialled must not depend on it."""
    client = DestinationClient(url, private=private)
    try:
        return await client.post(BODY, HEADERS, leaves)
    finally:
        await client.close()


async def tempt(urls: Iterable[str]) -> int:
    """Post to each; return how many would be refused when they are entered."""
    refused = 0
    for url in urls:
        refused += not _may_be_entered(url)
        try:
            answer = await post(url)
        except ValueError:
            assert not _may_be_entered(url), url
            continue
        assert answer.outcome in {Outcome.NOT_SENT, Outcome.PERMANENT}, url
        assert answer.status is None, url
    return refused


def _may_be_entered(url: str) -> bool:
    try:
        parts, dialled = urlsplit(check_destination_url(url)), httpx.URL(url.strip())
    except DestinationUrlError:
        return False
    port = dialled.port or {"https": 443, "http": 80}[dialled.scheme]
    assert (parts.scheme, parts.hostname, port_of(parts)) == (dialled.scheme, dialled.host, port)
    return True


async def test_no_written_form_reaches_the_canary(
    canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every name there is leads to the canary."""
    resolve(monkeypatch, HERE)
    every = forms(canary.port)
    refused = await tempt(every)
    assert len(every) >= 300
    assert refused > len(every) // 2
    assert (canary.met, canary.woken) == (0, [])


async def test_no_form_of_chance_reaches_the_canary(
    canary: Canary, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    resolve(monkeypatch, HERE)
    count = LONG if request.config.getoption("--long") else SHORT
    await tempt(by_chance(canary.port, count, seed=7))
    assert (canary.met, canary.woken) == (0, [])


@pytest.mark.parametrize("host", ["127.0.0.1", "0x7f.1", "2130706433", "somewhere.example"])
async def test_what_the_environment_allows_does_reach_it(
    host: str, canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The canary can be woken: the tests above could fail."""
    resolve(monkeypatch, ["127.0.0.1"])
    url = f"http://{host}:{canary.port}/"
    assert (await post(url)).error == "forbidden address"
    assert (canary.met, canary.woken) == (0, [])
    assert (await post(url, LOOPBACK)).outcome is Outcome.DELIVERED
    assert (canary.met, canary.woken) == (1, ["127.0.0.1"])


async def test_the_host_keeps_its_name_where_its_number_is_dialled(
    canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve(monkeypatch, ["127.0.0.1"])
    await post(f"http://somewhere.example:{canary.port}/", LOOPBACK)
    (request,) = canary.requests
    assert f"host: somewhere.example:{canary.port}".encode() in request.lower()
    assert canary.dialled == ["127.0.0.1"]


@pytest.mark.parametrize(
    "answers",
    [
        *([PUBLIC, one] for one in TARGETS),
        *([one, PUBLIC] for one in TARGETS),
        *([PUBLIC, f"{one}"] for one in carriers(0x7F000001)),
        ["::1", "2606:4700::1111"],
    ],
    ids=" ".join,
)
async def test_one_forbidden_answer_among_others_is_one_too_many(
    answers: Sequence[str], canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve(monkeypatch, answers)
    answer = await post("https://rebound.example/")
    assert (answer.error, answer.fatal, canary.dialled) == ("forbidden address", True, [])


async def test_a_name_that_leads_elsewhere_the_next_time_is_vetted_each_time(
    canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rebinding: the answer that was vetted is the one dialled, and it is looked up once a dial."""
    asked = resolve(monkeypatch, [PUBLIC], ["127.0.0.1"], [PUBLIC, "::1"], ["169.254.169.254"])
    client = DestinationClient("https://rebound.example/")
    found = [(await client.post(BODY, HEADERS, leaves)).error for _ in range(6)]
    await client.close()
    assert found == ["ConnectError", *["forbidden address"] * 5]
    assert (len(asked), canary.dialled, canary.met) == (6, [PUBLIC], 0)


async def test_a_kept_connection_stays_where_it_was_vetted(
    canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name leads elsewhere meanwhile: what is kept goes on, what is dialled is vetted again."""
    asked = resolve(monkeypatch, ["127.0.0.1"], ["169.254.169.254"])
    async with loopback(answering("200 OK")) as there:
        client = DestinationClient(f"http://rebound.example:{there.port}/", private=LOOPBACK)
        for _ in range(3):
            assert (await client.post(BODY, HEADERS, leaves)).outcome is Outcome.DELIVERED
        assert (there.connections, len(asked)) == (1, 1)
        await there.close()
        answers = [await client.post(BODY, HEADERS, leaves) for _ in range(2)]
        await client.close()
    assert answers[-1].error == "forbidden address"
    assert canary.dialled == ["127.0.0.1"]


@pytest.mark.parametrize("status", ["301 X", "302 X", "307 X", "308 X"])
@pytest.mark.parametrize(
    "location", ["http://169.254.169.254/latest/", "https://xn--zzzz99/", "https://[::1", "\x80//"]
)
async def test_no_redirect_is_followed_nor_its_address_read(
    status: str, location: str, canary: Canary
) -> None:
    async with loopback(answering(f"{status}\r\nlocation: {location}")) as there:
        answer = await post(there.url, LOOPBACK)
    assert (answer.outcome, answer.status) == (Outcome.PERMANENT, int(status[:3]))
    assert canary.dialled == ["127.0.0.1"]


@pytest.mark.parametrize("name", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "https_proxy"])
async def test_no_proxy_of_the_environment_is_used(
    name: str, canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, f"http://127.0.0.1:{canary.port}")
    resolve(monkeypatch, [PUBLIC])
    assert (await post("https://example.com/")).error == "ConnectError"
    assert (canary.dialled, canary.met) == ([PUBLIC], 0)


ISLAND = """
    ip link set lo up && ip route add local default dev lo && ip -6 route add local ::/0 dev lo \\
        && mount --bind "$2/resolv.conf" /etc/resolv.conf \\
        && { ! [ -e /etc/nsswitch.conf ] || mount --bind "$2/nsswitch" /etc/nsswitch.conf; } \\
        && exec "$0" -m tests.security.island "$1"
"""
"""A network of one machine that has every address there is, and its own name server."""


def test_on_an_island_where_every_address_answers_none_is_spoken_to(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Without any record in between: real sockets, where the canary sits at every address."""
    try:
        trial = ["unshare", "-rnm", "sh", "-c", "ip link set lo up"]
        subprocess.run(trial, check=True, timeout=60, capture_output=True)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("needs unshare and ip, and the right to use them")
    count = LONG if request.config.getoption("--long") else 200
    patient = "options timeout:30 attempts:1\n"  # who asks again is answered otherwise
    (tmp_path / "resolv.conf").write_text(f"nameserver 127.0.0.1\n{patient}")
    (tmp_path / "nsswitch").write_text("hosts: files dns\n")
    command = ["unshare", "-rnm", "sh", "-c", ISLAND, sys.executable, str(count), str(tmp_path)]
    ran = subprocess.run(command, check=True, timeout=600, capture_output=True, cwd=ROOT)
    told = json.loads(ran.stdout)
    assert told["forms"] > count
    assert [one for one in told["met"] if not is_public(one)] == []
    assert told["allowed"] == {"127.0.0.1": 2}
    assert told["public"] == {PUBLIC: 1, "2606:4700::1111": 1}
    assert told["rebound"]["met"] == {PUBLIC: 1}
    assert told["rebound"]["said"][1:] == ["forbidden address"] * 5
    assert told["rebound"]["asked"] == 6


EVERYWHERE = tuple(map(ipaddress.ip_network, ("0.0.0.0/0", "::/0")))


@pytest.mark.parametrize("metadata", ["169.254.169.254", "100.100.100.200", "168.63.129.16"])
async def test_metadata_is_not_reached_even_where_everything_is_allowed(
    metadata: str, canary: Canary
) -> None:
    number = int(ipaddress.IPv4Address(metadata))
    for host in (metadata, *(f"[{one}]" for one in carriers(number))):
        answer = await post(f"http://{host}:{canary.port}/", EVERYWHERE)
        assert answer.error == "forbidden address", host
    assert canary.dialled == []


async def test_names_that_no_name_server_knows_are_answered_like_others(canary: Canary) -> None:
    """Labels too long, empty, or no IDNA: entered or not, sending there raises nothing."""
    for host in ("a" * 64 + ".example", "a..example", "xn--zzzz99", "x" * 300, "xn--a" + "b" * 70):
        answer = await post(f"https://{host}/")
        assert answer.outcome is Outcome.NOT_SENT, host
        assert answer.error == "name not resolved" or host.startswith("xn--"), host
        assert host not in str(answer)
    assert canary.dialled == []


def test_what_is_public_is_so_by_both_reckonings() -> None:
    """The canary's own reckoning is not the relay's; where they differ one of them is wrong."""
    for target in TARGETS:
        assert not is_public(target)
    assert is_public(PUBLIC)
    assert is_public("2606:4700::1111")
