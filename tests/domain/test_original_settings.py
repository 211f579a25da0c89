"""The original's settings: each of its names has a fate, and none is taken over unfit."""

import re
from pathlib import Path

import pytest

from config import Settings
from domain.original_settings import (
    ALSO_OURS,
    DEAD,
    LEFT,
    LIVE_HERE,
    RANGES,
    RENAMED,
    Fate,
    Verdict,
    at_start,
    decide,
    lines_of,
)
from tests.web.stage import settings

LIVE = re.findall(
    r"\w+",
    """
DEST_WEBHOOK_URL FINVIZ_UPDATE_TOKEN WORKER_CONCURRENCY FORWARDING_WORKERS QUEUE_MAX_SIZE LOG_LEVEL
DEST_WEBHOOK_MAX_REQ_PER_MIN DEST_WEBHOOK_RATE_LIMITING_ENABLED DATABASE_URL DATABASE_ECHO
DATABASE_POOL_SIZE DATABASE_MAX_OVERFLOW DATABASE_POOL_RECYCLE FINVIZ_USE_ELITE FINVIZ_LOGIN_URL
FINVIZ_EMAIL FINVIZ_PASSWORD DEFAULT_TICKER_REFRESH_SEC POSTGRES_PASSWORD
""",
)
DEAD_THERE = re.findall(
    r"\w+",
    """
DEST_WEBHOOK_TIMEOUT MAP_SIDE_TO_ACTION_TRADERSPOST TOP_N FINVIZ_REFRESH_SEC FINVIZ_TICKERS_PER_PAGE
MAX_REQ_PER_MIN MAX_CONCURRENCY PROMETHEUS_PORT SIGNAL_TRACKER_ENABLED DUAL_WRITE_ENABLED
DATABASE_ONLY_MODE SIGNAL_RETENTION_DAYS METRICS_RETENTION_DAYS FINVIZ_REPROCESS_ENABLED
SELL_ALL_LIST_LIFETIME_HOURS SERVER_PORT
""",
)
MIGRATION = Path(__file__).parents[2] / "docs" / "migration.md"
STRONG = "Zq3v-made-up-by-a-test-8Yx1Kd0Lw7Tt5Rb2"


def of(name: str, value: str, **others: str) -> Verdict:
    return next(one for one in decide({name: value, **others}, keep_token=True) if one.name == name)


def ours() -> set[str]:
    return {name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize("name", LIVE)
def test_what_was_live_there_is_read_here_or_has_words(name: str) -> None:
    assert (name in LIVE_HERE) != (name in LEFT)
    assert name in LEFT or RENAMED.get(name, name) in ours()
    assert f"`{name}`" in MIGRATION.read_text()


@pytest.mark.parametrize("name", DEAD_THERE)
def test_what_was_dead_there_is_told_so(name: str) -> None:
    assert of(name, "1").fate is Fate.DEAD
    assert name not in ours() or name in ALSO_OURS
    family = next((one for one in DEAD if one.endswith("*") and name.startswith(one[:-1])), name)
    assert f"`{family}`" in MIGRATION.read_text()


@pytest.mark.parametrize("name", RANGES)
def test_ranges_are_those_of_the_settings(name: str) -> None:
    field = Settings.model_fields[name.lower()]
    if name == "FINVIZ_REFRESH_SEC":
        return  # seconds with a fraction: config's range is on the inner type
    bounds = {kind: getattr(one, kind) for one in field.metadata for kind in ("ge", "le")
              if hasattr(one, kind)}  # fmt: skip
    assert (bounds["ge"], bounds["le"]) == RANGES[name]
    low, high = RANGES[name]
    for value in (str(low - 1), str(high + 1), "", "many", "1.5", "٣"):
        assert value == "" or of(name, value).fate is Fate.LEFT
    assert of(name, str(low)).value == str(low)


def test_a_refresh_is_taken_over_under_our_name() -> None:
    one = of("DEFAULT_TICKER_REFRESH_SEC", "10")
    assert (one.fate, one.becomes, one.value) == (Fate.TAKEN, "FINVIZ_REFRESH_SEC", "10")
    assert of("DEFAULT_TICKER_REFRESH_SEC", "0").fate is Fate.LEFT


@pytest.mark.parametrize(
    ("name", "value", "becomes"),
    [
        ("LOG_LEVEL", "info", "INFO"),
        ("LOG_LEVEL", "CRITICAL", None),
        ("DEST_WEBHOOK_RATE_LIMITING_ENABLED", "True", "true"),
        ("DEST_WEBHOOK_RATE_LIMITING_ENABLED", "0", "false"),
        ("DEST_WEBHOOK_RATE_LIMITING_ENABLED", "perhaps", None),
        ("DEST_WEBHOOK_URL", "https://destination.example/x", "https://destination.example/x"),
        ("DEST_WEBHOOK_URL", "http://destination.example/x", None),
        ("DEST_WEBHOOK_URL", "not a url at all", None),
        ("FINVIZ_UPDATE_TOKEN", "changeme-token", None),
        ("FINVIZ_UPDATE_TOKEN", "changeme-token-changeme-token-changeme", None),
        ("FINVIZ_UPDATE_TOKEN", "x" * 40, None),
        ("FINVIZ_UPDATE_TOKEN", STRONG, STRONG),
        ("FINVIZ_EMAIL", "somebody@example.com", None),
    ],
)
def test_values_are_taken_over_as_they_are_spelt_here_or_not(
    name: str, value: str, becomes: str | None
) -> None:
    one = of(name, value)
    assert (one.value, one.fate) == (becomes, Fate.TAKEN if becomes else Fate.LEFT)
    assert becomes or (one.words and value not in one.words)


def test_a_token_is_not_taken_over_unless_it_is_meant() -> None:
    (one,) = decide({"FINVIZ_UPDATE_TOKEN": STRONG}, keep_token=False)
    assert one.fate is Fate.LEFT
    assert "--keep-token" in one.words


def test_a_sign_in_is_taken_over_as_a_whole() -> None:
    whole = {"FINVIZ_EMAIL": "a@example.com", "FINVIZ_PASSWORD": "made up"}
    used = decide({"FINVIZ_USE_ELITE": "true", **whole}, keep_token=False)
    assert {one.fate for one in used} == {Fate.TAKEN}
    for given in (whole, {"FINVIZ_USE_ELITE": "false", **whole}, {"FINVIZ_USE_ELITE": "true"}):
        assert {one.fate for one in decide(given, keep_token=False)} == {Fate.LEFT}


def test_lines_are_read_as_env_files_are() -> None:
    text = """# a note
export A=1
B = "two words"  # a note
C='#'
d=x#y #z

E=
"""
    found = {one.name: one.value for one in lines_of(text)}
    assert found == {"A": "1", "B": "two words", "C": "#", "D": "x#y", "E": ""}


@pytest.mark.parametrize(
    "line",
    ["A='it''s'", 'A="half', "A=x\\n", "A=${HOME}", "A=\0", "A=\x1b[31m", "no pair", "1A=x", "=x"],
)
def test_what_is_read_differently_by_others_is_not_taken_over(line: str) -> None:
    (one,) = lines_of(line)
    assert one.problem
    assert one.value == ""


def test_a_start_tells_of_the_originals_names_in_one_line() -> None:
    old = ["DATABASE_POOL_SIZE", "prometheus_port", "DEFAULT_TICKER_REFRESH_SEC", "TOP_N", "PATH"]
    line = at_start(old)
    assert line
    assert "\n" not in line
    assert re.search(r"DEFAULT_TICKER_REFRESH_SEC \(FINVIZ_REFRESH_SEC\)", line)
    assert "PROMETHEUS_PORT (GET /metrics on PORT)" in line
    assert "Read here, though not there: TOP_N" in line
    assert "PATH" not in line


@pytest.mark.parametrize("names", [[], ["TOP_N", "DATABASE_URL", "POSTGRES_PASSWORD"], ["HOME"]])
def test_a_start_is_silent_about_our_own_names(names: list[str]) -> None:
    assert at_start(names) is None


@pytest.mark.parametrize("level", ["info", "Warning", "ERROR"])
def test_a_level_may_be_spelt_as_it_was_there(level: str) -> None:
    assert settings(log_level=level).log_level == level.upper()
