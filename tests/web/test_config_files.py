"""A configuration out of one relay and into another: shown, then applied exactly so, or not."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from domain.body import MASK
from tests.web.stage import ADMIN_TOKEN, UPDATE_TOKEN, Relay, cloned, relay

HEADERS = {"authorization": f"Bearer {ADMIN_TOKEN}"}
SECRETS = ("a-password", "a-value", "a-secret-constant", "hooks/T0/B0")


@pytest.fixture
async def here(template: str) -> AsyncGenerator[Relay]:
    async with cloned(template) as url, relay(url, wait=False) as one:
        yield one


async def post(relay: Relay, path: str, **given: Any) -> Any:
    answer = await relay.http.post(path, json=given, headers=HEADERS)
    assert answer.status_code in {200, 201}, answer.text
    return answer.json()


async def furnish(one: Relay) -> None:
    """One more of everything, secrets in some."""
    await post(one, "/api/screens", name="mine", tickers="AAPL,MSFT", valid_until=later(one))
    await post(
        one,
        "/api/destinations",
        name="paper",
        url="https://other.example/a-password",
        headers={"x-key": "a-value"},
        mapping={"add": {"apikey": "a-secret-constant", "account": 7}},
        windows="30/60s",
    )
    await post(one, "/api/sources", name="momentum", direction="buy", buy_ttl_sec=20)
    rules = {"every": {"refused": ["GME"]}, "sources": {"momentum": {"cooldown_sec": 60}}}
    answer = await one.http.put("/api/rules", json=rules, headers=HEADERS)
    assert answer.status_code == 200, answer.text
    await post(
        one,
        "/api/channels",
        name="ops",
        kind="slack",
        url="https://hooks.slack.com/services/hooks/T0/B0",
        severity="urgent",
    )


def later(_one: Relay) -> str:
    return "2027-06-01T00:00:00+00:00"


async def asked(one: Relay, file: Any, **given: Any) -> httpx.Response:
    body = {"file": file, **given}
    return await one.http.post("/api/config/import", json=body, headers=HEADERS)


async def seen(one: Relay, file: Any, **given: Any) -> Any:
    answer = await asked(one, file, **given)
    assert answer.status_code == 200, answer.text
    return answer.json()


def effects(answer: Any) -> dict[tuple[str, str], str]:
    return {(one["kind"], one["name"]): one["effect"] for one in answer["differences"]}


async def test_no_secret_leaves_and_what_is_here_is_unchanged(here: Relay) -> None:
    await furnish(here)
    exported = await here.get("/api/config/export", UPDATE_TOKEN)
    assert [secret for secret in SECRETS if secret in exported.text] == []
    file = exported.json()
    found = await seen(here, file)
    assert set(effects(found).values()) == {"unchanged"}
    assert len(found["differences"]) == 2 + 2 + 2 + 1 + 1
    assert found["applied"] is False
    done = await seen(here, file, apply=True, digest=found["digest"])
    assert done["applied"] is True
    versions = "SELECT version FROM {} WHERE version > 1 AND name <> 'webhook'"
    for table in ("screens", "destinations", "sources", "channels"):
        assert await here.rows(versions.format(table)) == []


async def test_another_relay_takes_over_what_it_can_and_says_what_not(
    here: Relay, template: str
) -> None:
    await furnish(here)
    file = await here.read("/api/config/export")
    paper = next(one for one in file["destinations"] if one["name"] == "paper")
    async with cloned(template) as url, relay(url, wait=False) as there:
        found = await seen(there, file)
        assert effects(found) == {
            ("screen", "first screen"): "unchanged",
            ("screen", "mine"): "create",
            ("destination", "main"): "unchanged",
            ("destination", "paper"): "cannot",
            ("source", "webhook"): "unchanged",
            ("source", "momentum"): "create",
            ("rules", "rules"): "change",
            ("channel", "ops"): "cannot",
        }
        paper |= {"url": "https://other.example/another", "headers": {"x-key": "new"}}
        paper["mapping"]["add"]["apikey"] = "new"
        found = await seen(there, file)
        assert effects(found)["destination", "paper"] == "create"
        assert "another" not in json.dumps(found["differences"])
        done = await seen(there, file, apply=True, digest=found["digest"])
        assert done["signing_secrets"].keys() == {"paper"}
        again = await seen(there, file)
        assert set(effects(again).values()) == {"unchanged", "cannot"}
        rules = await there.read("/api/rules")
        assert rules["sources"]["momentum"]["cooldown_sec"] == 60
        names = {row["name"] for row in (await there.read("/api/sources"))["items"]}
        assert names == {"webhook", "momentum"}
        (told,) = await there.rows(
            "SELECT actor, detail FROM events WHERE event = 'config.imported'"
        )
        assert told.actor == "admin token"
        assert {one["name"] for one in told.detail["changes"]} == {
            *("mine", "paper", "momentum", "rules"),
        }


async def test_a_change_is_shown_field_by_field_and_nothing_is_deleted(here: Relay) -> None:
    await furnish(here)
    file = await here.read("/api/config/export")
    file["screens"] = [one | {"top_n": 1} for one in file["screens"] if one["name"] == "mine"]
    file["channels"][0] |= {"severity": "info"}
    file["sources"] = []
    found = await seen(here, file)
    told = {(one["kind"], one["name"]): one for one in found["differences"]}
    assert told["screen", "mine"]["fields"] == {"top_n": {"was": 2, "becomes": 1}}
    assert told["channel", "ops"]["fields"] == {"severity": {"was": "urgent", "becomes": "info"}}
    assert told["screen", "first screen"]["effect"] == "only_here"
    assert told["source", "momentum"]["effect"] == "only_here"
    await seen(here, file, apply=True, digest=found["digest"])
    screens = (await here.read("/api/screens"))["items"]
    assert {one["name"]: one["top_n"] for one in screens}["mine"] == 1
    assert len(screens) == 2


async def test_what_was_seen_is_applied_or_nothing(here: Relay) -> None:
    await furnish(here)
    file = await here.read("/api/config/export")
    for one in file["destinations"]:
        one["windows"] = "10/60s"
    found = await seen(here, file)
    await here.execute("UPDATE screens SET note = 'another' WHERE name = 'mine'")
    for digest in (found["digest"], None, "x"):
        answer = await asked(here, file, apply=True, digest=digest)
        assert (answer.status_code, answer.json()["code"]) == (409, "changed_meanwhile")
    assert "10/60s" not in (await here.get("/api/destinations")).text
    digest = (await seen(here, file))["digest"]
    answers = await asyncio.gather(
        *(asked(here, file, apply=True, digest=digest) for _ in range(4))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    (main, paper) = (await here.read("/api/destinations"))["items"]
    assert [(one["windows"], one["version"]) for one in (main, paper)] == [("10/60s", 2)] * 2


async def test_masks_change_nothing_and_other_values_do(here: Relay) -> None:
    await furnish(here)
    file = await here.read("/api/config/export")
    paper = next(one for one in file["destinations"] if one["name"] == "paper")
    assert paper["mapping"]["add"] == {"apikey": MASK, "account": 7}
    paper |= {"url": f"https://elsewhere.example/{MASK}", "headers": ["x-other"]}
    (told,) = [one for one in (await seen(here, file))["differences"] if one["name"] == "paper"]
    assert (told["effect"], len(told["notes"])) == ("unchanged", 2)
    paper |= {"url": "https://other.example/a-second-password", "headers": {"x-key": "second"}}
    found = await seen(here, file)
    (told,) = [one for one in found["differences"] if one["name"] == "paper"]
    assert told["fields"] == {
        name: {"was": was, "becomes": "another, not shown"}
        for name, was in (("url", f"https://other.example/{MASK}"), ("headers", ["x-key"]))
    }
    await seen(here, file, apply=True, digest=found["digest"])
    assert (await seen(here, file))["digest"] != found["digest"]


@pytest.mark.parametrize(
    ("part", "value", "field"),
    [
        ("format", "another", "file.format"),
        ("version", 2, "file.version"),
        ("screens", [{"name": "x", "top_n": 0}], "screens[0].top_n"),
        ("destinations", [{"name": "a"}, {"name": "A"}], "file.destinations"),
        ("destinations", [{"name": "main", "windows": "x"}], "windows"),
        ("rules", {"sources": {"nobody": {}}}, "file.rules.sources.nobody"),
        ("more", 1, "file.more"),
    ],
)
async def test_what_cannot_be_is_named(here: Relay, part: str, value: Any, field: str) -> None:
    file = {"format": "trading-signal-processor/config", "version": 1, part: value}
    answer = await asked(here, file)
    assert (answer.status_code, answer.json().get("field")) == (400, field)


async def test_kinds_stay_and_names_that_were_put_away_too(here: Relay) -> None:
    await furnish(here)
    file = await here.read("/api/config/export")
    assert (
        await here.http.post("/api/sources/momentum/archive", headers=HEADERS)
    ).status_code == 200
    file["screens"] = [{"name": "first screen", "tickers": ["AAPL"], "valid_until": later(here)}]
    file["channels"] = [{"name": "OPS", "kind": "email"}]
    file["sources"].append({"name": "operator"})
    found = effects(await seen(here, file))
    names = (("screen", "first screen"), ("channel", "OPS"), ("source", "momentum"))
    assert [found[name] for name in (*names, ("source", "operator"))] == ["cannot"] * 4
