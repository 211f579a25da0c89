"""The greeting: everything a person needs, and a token only when it was made just now."""

from pathlib import Path

import pytest

from config import Settings
from launcher.greeting import Place, address, lines, made
from version import named

TOKEN = "Zk3vQ9xT7mB2nR8sW4yL6pD1cF5hJ0aG"
PLACE = Place(Path("/data"), Path("/data/logs/relay.log"), "embedded PostgreSQL 18")


def settings(**given: object) -> Settings:
    needed: dict[str, object] = {
        "webhook_token": TOKEN,
        "finviz_update_token": TOKEN,
        "admin_token": TOKEN,
        "encryption_key": "x",
        "dest_webhook_signing_secret": "x",
    }
    return Settings.model_construct(**(needed | given))  # pyright: ignore[reportArgumentType]  any field by name


def greeting(new: dict[str, str] | None = None, **given: object) -> str:
    return "\n".join(lines(settings(**given), PLACE, new or {}))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "http://127.0.0.1:8000"),
        ({"host": "0.0.0.0", "port": 80}, "http://127.0.0.1:80"),
        ({"host": "::1"}, "http://[::1]:8000"),
        ({"public_url": "https://relay.example/"}, "https://relay.example"),
    ],
)
def test_the_address_is_one_a_browser_reaches(given: dict[str, object], expected: str) -> None:
    assert address(settings(**given)) == expected


def test_a_token_is_shown_only_when_new() -> None:
    assert TOKEN not in greeting()
    assert f"/webhook/in/{TOKEN}" in greeting({"WEBHOOK_TOKEN": TOKEN})


def test_it_says_what_is_missing_and_what_that_means() -> None:
    assert "no_destination" in greeting()
    assert "PUBLIC_URL" in greeting()
    whole = greeting(dest_webhook_url="https://d.example", public_url="https://relay.example")
    assert "Not configured" not in whole


def test_it_says_where_everything_is() -> None:
    for place in ("/admin", "/data", "/data/logs/relay.log", "embedded PostgreSQL 18"):
        assert place in greeting()


def test_it_says_which_version_it_is_and_who_tells_what_is_wrong() -> None:
    assert f"Version      {named()}" in greeting()
    assert "run.py doctor" in greeting()


def test_behind_a_proxy_the_page_is_reached_from_the_machine_too() -> None:
    assert "From here    http://127.0.0.1:8000/admin" in greeting(public_url="https://r.example")
    assert "From here" not in greeting()


def test_new_secrets_are_shown_with_the_file_that_keeps_them() -> None:
    assert made(Path("/data"), {}) == []
    shown = "\n".join(made(Path("/data"), {"ADMIN_TOKEN": TOKEN}))
    assert TOKEN in shown
    assert "/data/secrets.env" in shown
