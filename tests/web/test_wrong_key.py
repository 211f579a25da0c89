"""A relay that is started with another ENCRYPTION_KEY says so; nothing of it is a riddle.

Where the key before is lost, all that was sealed with it is entered anew, on the page or by the
API, and the relay forwards again.
"""

import base64
import json
import logging
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from database.destination_rows import ANOTHER_KEY
from tests.web.operating import API, CANARY, HEADERS, HOOK, ask, change, create, signed_in, tell
from tests.web.stage import ADMIN_TOKEN, UPDATE_TOKEN, Relay, cloned, relay, until

OTHER = base64.b64encode(bytes(range(32))).decode()
ANEW = "https://destination.example/hook/entered-anew"
SLACK = {"kind": "slack", "url": "https://hooks.slack.com/services/a/b/c"}


async def test_another_key_is_told_in_the_log_and_to_who_asks(
    template: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with cloned(template) as url:
        async with relay(url) as first:
            assert len((await first.read("/api/destinations"))["items"]) == 1
        assert "key.does_not_open" not in caplog.text
        with caplog.at_level(logging.ERROR):
            async with relay(url, encryption_key=OTHER) as one:
                assert ("furnishing", logging.ERROR, "key.does_not_open") in caplog.record_tuples
                (main,) = (await one.read("/api/destinations"))["items"]
                assert not main["opens"]
                assert "ENCRYPTION_KEY" in main["advice"]
                taken = await one.post({"ticker": "AAPL", "action": "sell"})
                assert taken.status_code == 202
                said = "destination.does_not_open"
                await until(lambda: _in(caplog, said), "the forwarder's word")
        async with relay(url) as again:
            (main,) = (await again.read("/api/destinations"))["items"]
            assert main["opens"]


async def _in(caplog: pytest.LogCaptureFixture, message: str) -> bool:
    return message in caplog.messages


# ── The key before is lost ──────────────────────────────────────────────────────────────────


@pytest_asyncio.fixture
async def lost(template: str) -> AsyncGenerator[Relay]:
    """With a destination "main", one with headers and constants, and two channels of before."""
    async with cloned(template) as url:
        async with relay(url) as before:
            rich = {"rename": {"qty": "quantity"}, "add": {"password": CANARY}}
            given = {"preset": "as_received", **rich}
            await create(before, name="rich", url=HOOK, headers=HEADERS, mapping=given)
            for more in (SLACK, {"kind": "webhook", "url": "https://there.example/a-secret"}):
                body = {"name": f"my {more['kind']}", **more}
                made = await ask(before, "POST", "/api/channels", body, ADMIN_TOKEN)
                assert made.status_code == 201, made.text
        async with relay(url, encryption_key=OTHER) as one:
            yield one


async def named(one: Relay, name: str, of: str = API) -> dict[str, Any]:
    answer = await ask(one, "GET", of)
    assert answer.status_code == 200, answer.text
    (found,) = [row for row in answer.json()["items"] if row["name"] == name]
    return found


async def arrives(one: Relay, number: int) -> None:
    """A buy gets out to the address that was entered anew, or to a new one."""
    answer = await one.post({"ticker": one.finviz.market[number].ticker, "action": "buy"})
    assert answer.status_code == 202

    async def is_there() -> bool:
        bodies = [json.loads(parcel.body) for parcel in one.destination.parcels]
        return any(body["ticker"] == one.finviz.market[number].ticker for body in bodies)

    await until(is_there, "the parcel")


def refused(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.json()["code"]) == (409, "wrong_key"), answer.text
    assert "ENCRYPTION_KEY" in answer.json()["detail"]


async def test_one_that_does_not_open_is_shown_and_keeps_no_other_from_being_sent_to(
    lost: Relay,
) -> None:
    rich = await named(lost, "rich")
    assert (rich["opens"], rich["headers"]) == (False, [ANOTHER_KEY])
    assert rich["mapping"]["add"] == {ANOTHER_KEY: "•••"}
    assert rich["url"] == "https://other.example/•••"
    one = await ask(lost, "GET", f"{API}/{rich['id']}")
    assert [row["opens"] for row in one.json()["versions"]] == [False]
    exported = await ask(lost, "GET", "/api/config/export")
    assert exported.status_code == 200
    assert CANARY not in one.text + exported.text
    new = await ask(lost, "POST", API, {"name": "new", "url": ANEW})
    assert new.status_code == 201
    assert new.json()["opens"]
    await arrives(lost, 0)


async def test_what_needs_its_secrets_is_refused_in_words_and_what_does_not_is_done(
    lost: Relay,
) -> None:
    rich = await named(lost, "rich")
    refused(await change(lost, rich, windows="30/60s"))
    refused(await change(lost, rich, url=ANEW))  # its constants would be gone, unsaid
    for order in ("rotate-secret", "test"):
        refused(await ask(lost, "POST", f"{API}/{rich['id']}/{order}"))
    assert (await tell(lost, rich, "pause"))["state"] == "paused"
    refused(await ask(lost, "POST", f"{API}/{rich['id']}/resume"))
    assert (await tell(lost, rich, "disable"))["state"] == "disabled"
    refused(await ask(lost, "POST", f"{API}/{rich['id']}/enable"))
    assert (await tell(lost, rich, "disable"))["state"] == "disabled"


async def test_an_address_is_set_over_one_that_does_not_open(lost: Relay) -> None:
    rich = await named(lost, "rich")
    mapping = {"preset": "as_received", "rename": {}, "add": {"account": "mine"}}
    late = await change(lost, rich, url=ANEW, mapping=mapping, version=7)
    assert late.json()["code"] == "changed_meanwhile"
    given = {"url": ANEW, "headers": {"x-key": "k"}, "mapping": mapping}
    done = await change(lost, rich, **given, version=rich["version"])
    assert done.status_code == 200, done.text
    now = done.json()
    assert now["signing_secret"].startswith("whsec_")
    assert (now["changed"], now["opens"], now["version"]) == (True, True, rich["version"] + 1)
    assert (now["headers"], now["mapping"]["add"]) == (["x-key"], {"account": "mine"})
    assert now["windows"] == rich["windows"]
    (told,) = await lost.rows(
        "SELECT detail FROM events WHERE event = 'destination.changed' ORDER BY id"
    )
    assert told.detail["becomes"]["key"] == "rotated"
    assert "was" in told.detail
    await arrives(lost, 1)
    (parcel, *_) = lost.destination.parcels
    assert parcel.headers["x-key"] == "k"
    assert json.loads(parcel.body)["account"] == "mine"


async def test_the_pages_say_it_and_take_the_address(lost: Relay) -> None:
    browser = await signed_in(lost)
    main, rich = [await named(lost, name) for name in ("main", "rich")]
    for path in ("", "/destinations", f"/destinations/{rich['id']}", "/attention", "/doctor"):
        page = await lost.http.get(f"/admin{path}", headers=browser)
        assert page.status_code == 200, path
        assert CANARY not in page.text
    here = f"/admin/destinations/{rich['id']}"
    page = await lost.http.get(here, headers=browser)
    assert "sealed with another ENCRYPTION_KEY" in page.text
    assert "Enter its address anew" in page.text

    async def submit(path: str, **fields: str) -> httpx.Response:
        return await lost.http.post(f"{here}{path}", data=fields, headers=browser)

    wrong = await submit("/address", add="account = mine")
    assert wrong.status_code == 400
    assert "url: an address is needed" in wrong.text
    settings = await submit("", name="rich", windows="30/60s", version="1")
    assert settings.status_code == 409
    assert (await submit("/disable")).status_code == 303
    enabled = await submit("/enable")
    assert enabled.status_code == 409
    assert "ENCRYPTION_KEY" in enabled.text
    entered = await submit("/address", url=ANEW, headers="X-Key: k", add="account = mine")
    assert entered.status_code == 200, entered.text
    assert "whsec_" in entered.text
    assert (await submit("/enable")).status_code == 303
    now = await named(lost, "rich")
    assert (now["opens"], now["headers"], now["state"]) == (True, ["x-key"], "enabled")
    assert now["mapping"] == {
        "preset": "as_received",
        "rename": {"qty": "quantity"},
        "add": {"account": "mine"},
    }
    assert not (await named(lost, "main"))["opens"]
    assert main["id"] != rich["id"]
    await arrives(lost, 2)


CHANNELS = "/api/channels"
SECRETS = "SELECT shown, sealed, enabled, version FROM channels WHERE id = :id"


async def test_a_channel_that_does_not_open_is_switched_off_or_led_elsewhere(lost: Relay) -> None:
    slack, webhook = [await named(lost, f"my {kind}", CHANNELS) for kind in ("slack", "webhook")]
    assert "ENCRYPTION_KEY" in slack["warning"]
    path = f"{CHANNELS}/{slack['id']}"
    refused(await ask(lost, "POST", f"{path}/test"))
    refused(await ask(lost, "PATCH", path, {"window": 60}))
    (before,) = await lost.rows(SECRETS, id=slack["id"])
    off = await ask(lost, "PATCH", path, {"enabled": False})
    assert off.status_code == 200, off.text
    (after,) = await lost.rows(SECRETS, id=slack["id"])
    assert (after.shown, after.sealed) == (before.shown, before.sealed)
    assert (after.enabled, after.version) == (False, before.version + 1)
    refused(await ask(lost, "PATCH", path, {"enabled": True}))
    anew = {"enabled": True, "url": "https://hooks.slack.com/services/d/e/f"}
    on = await ask(lost, "PATCH", path, anew)
    assert on.status_code == 200, on.text
    assert (on.json()["warning"], on.json()["enabled"]) == (None, True)
    assert "signing_secret" not in on.json()
    away = await ask(lost, "POST", f"{CHANNELS}/{webhook['id']}/archive")
    assert away.status_code == 200


async def test_a_webhook_led_elsewhere_signs_with_another_key(lost: Relay) -> None:
    webhook = await named(lost, "my webhook", CHANNELS)
    browser = await signed_in(lost)
    page = f"/admin/settings/channels/{webhook['id']}"
    fields = {"kind": "webhook", "name": "my webhook", "severity": "info", "window": "60"}
    fields |= {"enabled": "1", "version": str(webhook["version"])}
    kept = await lost.http.post(page, data=fields, headers=browser)
    assert kept.status_code == 409
    assert "ENCRYPTION_KEY" in kept.text
    url = "https://there.example/another-secret"
    saved = await lost.http.post(page, data=fields | {"url": url}, headers=browser)
    assert saved.status_code == 200
    assert "whsec_" in saved.text
    assert (await named(lost, "my webhook", CHANNELS))["warning"] is None


async def test_a_configuration_is_taken_over_but_for_what_does_not_open(lost: Relay) -> None:
    file = (await ask(lost, "GET", "/api/config/export")).json()
    answer = await ask(lost, "POST", "/api/config/import", {"file": file}, UPDATE_TOKEN)
    assert answer.status_code == 200, answer.text
    cannot = [
        (one["kind"], one["name"])
        for one in answer.json()["differences"]
        if one["effect"] == "cannot"
    ]
    assert cannot == [
        *(("destination", name) for name in ("main", "rich")),
        *(("channel", name) for name in ("my slack", "my webhook")),
    ]
