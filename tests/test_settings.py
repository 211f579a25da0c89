"""A wrong setting stops the start with one line: the variable, the problem, what is allowed."""

from datetime import timedelta
from pathlib import Path

import pytest

from config import Settings, SettingsError, load
from domain.rate import Window
from furnishing import refuse_unfit
from tests.conftest import KEY

GOOD: dict[str, object] = {
    "webhook_token": "0123456789abcdefghijklmnopqrstuvwx",
    "finviz_update_token": "123456789abcdefghijklmnopqrstuvwxy",
    "admin_token": "23456789abcdefghijklmnopqrstuvwxyz",
    "encryption_key": KEY,
    "dest_webhook_signing_secret": f"whsec_{KEY}",
}


@pytest.fixture(autouse=True)
def nothing_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No `.env` here, and none of our names in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_the_defaults_are_good() -> None:
    settings = load(**GOOD)
    refuse_unfit(settings)
    assert settings.rate_windows is None
    assert settings.shutdown_grace == timedelta(seconds=10)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("PORT", "99999", "1"),
        ("PORT", "eighty", "integer"),
        ("TOP_N", "0", "1000"),
        ("ADMIN_TOKEN", "short", "32 characters"),
        ("WEBHOOK_TOKEN", "your-secure-token-your-secure-token", "known weak value"),
        ("FINVIZ_UPDATE_TOKEN", "a" * 40, "known weak value"),
        ("DEST_WEBHOOK_RATE_LIMITS", "sixty", "60/60s"),
        ("DEST_WEBHOOK_RATE_LIMITS", "60/0s", "60/60s"),
        ("PRIVATE_DESTINATIONS", "300.1.1.1/8", "network"),
        ("SELL_POLICY", "sometimes", "with_position"),
        ("LIST_MAX_AGE_SEC", "0", "1"),
        ("SELL_RESERVED_SHARE", "1", "0.9"),
        ("DATABASE_URL", "mysql://root:hunter2@localhost/x", "postgresql+asyncpg://"),
        ("PUBLIC_URL", "relay.example.com", "https://"),
        ("FINVIZ_BASE_URL", "finviz.com", "https://"),
    ],
)
def test_a_wrong_value_is_named_in_one_line(
    name: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    others = {key: given for key, given in GOOD.items() if key.upper() != name}
    with pytest.raises(SettingsError) as refused:
        load(**others)
    line = str(refused.value)
    assert line.startswith(f"{name}: ")
    assert words in line
    assert "\n" not in line
    assert "hunter2" not in line


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"allow_unauthenticated_ingress": True, "host": "0.0.0.0"}, "loopback HOST"),
        ({"finviz_use_elite": True}, "FINVIZ_AUTH_TOKEN"),
        ({"finviz_auth_token": "t"}, "FINVIZ_USE_ELITE"),
    ],
)
def test_settings_that_do_not_go_together(given: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        load(**GOOD, **given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"encryption_key": "bm90IDMy"}, "ENCRYPTION_KEY: must be base64 of 32 bytes"),
        ({"dest_webhook_signing_secret": "whsec_!"}, "DEST_WEBHOOK_SIGNING_SECRET: "),
        ({"dest_webhook_url": "http://10.0.0.1/x"}, "DEST_WEBHOOK_URL: must be https"),
        ({"finviz_url": "https://example.com/screener.ashx"}, "FINVIZ_URL"),
    ],
)
def test_what_only_the_domain_can_judge(given: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        refuse_unfit(load(**GOOD | given))


def test_a_missing_secret_says_who_makes_it() -> None:
    others = {key: value for key, value in GOOD.items() if key != "admin_token"}
    with pytest.raises(
        SettingsError, match=r"ADMIN_TOKEN is not set: `python run\.py` generates it"
    ):
        load(**others)


def test_a_blank_value_counts_as_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINVIZ_REFRESH_SEC", "")
    monkeypatch.setenv("DEST_WEBHOOK_URL", "")
    settings = load(**GOOD)
    assert settings.finviz_refresh_sec is None
    assert settings.dest_webhook_url is None


def test_the_env_file_wins_over_generated_secrets(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "secrets.env").write_text("BUY_TTL_SEC=1\nSELL_TTL_SEC=2\n")
    (tmp_path / ".env").write_text("SELL_TTL_SEC=3\n")
    settings = load(**GOOD)
    assert (settings.buy_ttl_sec, settings.sell_ttl_sec) == (1, 3)


@pytest.mark.parametrize(
    ("given", "windows"),
    [
        ({"dest_webhook_rate_limiting_enabled": False}, ()),
        ({"dest_webhook_max_req_per_min": 30}, (Window(limit=30, seconds=60),)),
        (
            {"dest_webhook_max_req_per_min": 30, "dest_webhook_rate_limits": "5/1s,9/60s"},
            (Window(limit=5, seconds=1), Window(limit=9, seconds=60)),
        ),
    ],
)
def test_the_most_exact_rate_setting_wins(
    given: dict[str, object], windows: tuple[Window, ...]
) -> None:
    assert load(**GOOD, **given).rate_windows == windows


def test_postgres_addresses_are_taken_as_people_write_them() -> None:
    settings = load(**GOOD, database_url="postgres://u:p@db/relay")
    assert settings.database_url
    assert settings.database_url.get_secret_value() == "postgresql+asyncpg://u:p@db/relay"


def test_secrets_are_told_to_the_redactor() -> None:
    settings = load(**GOOD, dest_webhook_url="https://example.com/webhook/password")
    assert "https://example.com/webhook/password" in settings.secrets()
    assert GOOD["admin_token"] in settings.secrets()
