"""A wrong setting stops the start with one line: the variable, the problem, what is allowed."""

import base64
from datetime import timedelta
from pathlib import Path

import pytest

from config import SECRETS, Settings, SettingsError, load
from domain.rate import Window
from furnishing import refuse_unfit
from launcher import credentials
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
        monkeypatch.delenv(f"{name.upper()}_FILE", raising=False)


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


NAMES = ("WEBHOOK_TOKEN", "FINVIZ_UPDATE_TOKEN", "ADMIN_TOKEN")
WEAK_VALUES = (
    *("", "x", "changeme", "short-but-random-8f3k2", "your-secure-token-your-secure-token"),
    *("CHANGE_ME_CHANGE_ME_CHANGE_ME_CHANGE_ME", "postgres123postgres456postgres789abc"),
    *("a" * 40, "ab" * 20, "abcdefgh" * 5, "abcdefghij" * 4, "test-token-0123456789abcdefghijkl"),
    *("replace-this-with-a-long-random-one-1", "my-very-long-password-0123456789abcd"),
)


@pytest.mark.parametrize("value", WEAK_VALUES)
@pytest.mark.parametrize("name", NAMES)
def test_a_weak_token_stops_the_start(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """H14: there are no defaults, and what people make up is refused without being repeated."""
    monkeypatch.setenv(name, value)
    others = {key: given for key, given in GOOD.items() if key.upper() != name}
    with pytest.raises(SettingsError) as refused:
        load(**others)
    assert str(refused.value).startswith(name)
    assert len(value) < 8 or value not in str(refused.value)


@pytest.mark.parametrize("key", [b"\0" * 32, b"secret--" * 4, b"ab" * 16])
def test_a_weak_key_stops_the_start(key: bytes) -> None:
    """H14."""
    with pytest.raises(SettingsError, match="ENCRYPTION_KEY: is a known weak value"):
        load(**GOOD | {"encryption_key": base64.b64encode(key).decode()})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("admin_token", "webhook_token"),
        ("finviz_update_token", "webhook_token"),
        ("admin_token", "finviz_update_token"),
        ("encryption_key", "admin_token"),
        ("encryption_key_old", "encryption_key"),
    ],
)
def test_no_secret_serves_twice(one: str, other: str) -> None:
    """H14: whoever has one must not have another by it."""
    same = KEY if "key" in other or "key" in one else GOOD[other]
    with pytest.raises(SettingsError, match="is the same as"):
        load(**GOOD | {one: same, other: same})


def test_what_is_generated_is_taken(tmp_path: Path) -> None:
    """H14: a first start makes what its own checks take."""
    for number in range(20):
        folder = tmp_path / str(number)
        folder.mkdir()
        load(**{name.lower(): value for name, value in credentials.complete(folder, {}).items()})


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_every_secret_may_stand_in_a_file_of_its_own(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """H15: as Docker and systemd hand secrets over; a blank line at its end is nothing."""
    values = GOOD | {
        "database_url": "postgresql+asyncpg://u:p@db/relay",
        "database_owner_url": "postgresql+asyncpg://o:p@db/relay",
        "encryption_key_old": base64.b64encode(bytes(range(32))).decode(),
        "finviz_auth_token": "t",
        "finviz_email": "me@example.com",
        "finviz_password": "p",
    }
    value = str(values.get(name, "https://somewhere.example/secret"))
    (tmp_path / "own").write_text(f"{value}\n")
    monkeypatch.setenv(f"{name.upper()}_FILE", str(tmp_path / "own"))
    given = {other: values[other] for other in values if other != name}
    settings = load(**given, finviz_use_elite=True)
    assert getattr(settings, name).get_secret_value() == value
    monkeypatch.setenv(name.upper(), value)
    with pytest.raises(SettingsError, match="is set too: keep one of them"):
        load(**given, finviz_use_elite=True)


@pytest.mark.parametrize(
    ("content", "words"), [(None, "cannot be read: No such file"), ("\n", "the file is empty")]
)
def test_a_file_that_says_nothing_stops_the_start(
    content: str | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADMIN_TOKEN_FILE", str(tmp_path / "own"))
    if content is not None:
        (tmp_path / "own").write_text(content)
    with pytest.raises(SettingsError, match=f"ADMIN_TOKEN_FILE: {words}"):
        load(**{key: given for key, given in GOOD.items() if key != "admin_token"})


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
        ({"encryption_key_old": "bm90IDMy"}, "ENCRYPTION_KEY_OLD: must be base64 of 32 bytes"),
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
