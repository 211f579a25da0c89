import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from domain.screen import (
    EXAMPLE_URL,
    Screen,
    ScreenError,
    ScreenKind,
    parse_screen_url,
    parse_tickers,
)
from domain.screen_terms import NamedScreen
from engines.universe import config_file

DEFAULT = Screen(url=EXAMPLE_URL, top_n=15, refresh=timedelta(seconds=180), slow_when_closed=False)
URL = "https://finviz.com/screener.ashx?v=111&f=cap_large&o=-volume"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "finviz_config.json"


@pytest.mark.parametrize(
    ("given", "screen"),
    [
        ({}, DEFAULT),
        ({"url": None, "top_n": None}, DEFAULT),
        ({"unknown": 1}, DEFAULT),
        (
            {"url": URL, "top_n": 5, "refresh": 60},
            replace(DEFAULT, url=parse_screen_url(URL), top_n=5, refresh=timedelta(seconds=60)),
        ),
        (
            {"finviz_url": URL, "refresh_interval_sec": 7.5},
            replace(DEFAULT, url=parse_screen_url(URL), refresh=timedelta(seconds=7.5)),
        ),
        ({"top_n": 5.0}, replace(DEFAULT, top_n=5)),
    ],
)
def test_what_is_given_is_taken_and_the_rest_is_the_default(
    path: Path, given: object, screen: Screen
) -> None:
    path.write_text(json.dumps(given), encoding="utf-8-sig")
    assert config_file.read(path, DEFAULT) == screen


def test_without_a_file_it_is_the_default(path: Path) -> None:
    assert config_file.read(path, DEFAULT) is DEFAULT


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", "finviz_config.json"),
        ("{", "finviz_config.json"),
        ("[]", "finviz_config.json"),
        ("null", "finviz_config.json"),
        ('{"url": 5}', "url"),
        ('{"url": "https://example.com/screener.ashx"}', "url"),
        ('{"top_n": 0}', "top_n"),
        ('{"top_n": 1001}', "top_n"),
        ('{"top_n": "15"}', "top_n"),
        ('{"top_n": true}', "top_n"),
        ('{"top_n": 2.5}', "top_n"),
        ('{"top_n": NaN}', "top_n"),
        ('{"top_n": Infinity}', "top_n"),
        ('{"top_n": 1e400}', "top_n"),
        ('{"refresh": 0}', "refresh"),
        ('{"refresh": -1}', "refresh"),
        ('{"refresh": 1e300}', "refresh"),
        ('{"refresh": NaN}', "refresh"),
        ('{"refresh": []}', "refresh"),
    ],
)
def test_what_cannot_be_is_refused_by_name(path: Path, text: str, field: str) -> None:
    path.write_text(text)
    with pytest.raises(ScreenError) as refusal:
        config_file.read(path, DEFAULT)
    assert refusal.value.field == field


def test_bytes_that_are_no_text_are_refused_by_name(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ScreenError, match="is not JSON"):
        config_file.read(path, DEFAULT)


# ── Several screens ─────────────────────────────────────────────────────────────────────────

FIXED = Screen(
    kind=ScreenKind.FIXED,
    tickers=parse_tickers("AAPL MSFT"),
    valid_until=datetime(2030, 1, 31, 21, tzinfo=UTC),
    top_n=2,
    refresh=timedelta(seconds=180),
)
GAINERS = NamedScreen(name="gainers", note="ä", active=True, screen=replace(DEFAULT, margin=5))
MINE = NamedScreen(name="mine", screen=FIXED)


def test_what_is_written_is_read_again_the_active_one_first(path: Path) -> None:
    config_file.write(path, [MINE, GAINERS])
    assert config_file.read_all(path, DEFAULT) == [GAINERS, MINE]


def test_scripts_of_the_original_find_the_active_screen_at_the_top(path: Path) -> None:
    screen = replace(GAINERS.screen, top_n=7, refresh=timedelta(seconds=60))
    config_file.write(path, [MINE, replace(GAINERS, screen=screen)])
    top = json.loads(path.read_text())
    assert (top["url"], top["top_n"], top["refresh"]) == (EXAMPLE_URL, 7, 60)
    assert config_file.read(path, DEFAULT) == replace(DEFAULT, top_n=7, refresh=screen.refresh)


def test_a_fixed_list_in_force_leaves_the_top_empty(path: Path) -> None:
    config_file.write(path, [replace(MINE, active=True)])
    assert json.loads(path.read_text()).keys() == {"screens"}
    assert config_file.read_all(path, DEFAULT) == [replace(MINE, active=True)]
    assert config_file.read(path, DEFAULT) == DEFAULT


def test_a_file_is_replaced_whole_and_keeps_its_mode(path: Path) -> None:
    path.write_text("old")
    path.chmod(0o640)
    config_file.write(path, [GAINERS])
    assert path.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_link_stays_one(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.json"
    target.write_text("{}")
    path.symlink_to(target)
    config_file.write(path, [GAINERS])
    assert path.is_symlink()
    assert config_file.read_all(target, DEFAULT) == [GAINERS]


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "a folder").mkdir()
    with pytest.raises(IsADirectoryError):
        config_file.write(tmp_path / "a folder", [GAINERS])
    assert [one.name for one in tmp_path.iterdir()] == ["a folder"]
    with pytest.raises(FileNotFoundError):
        config_file.write(tmp_path / "none" / "file.json", [GAINERS])


@pytest.mark.parametrize("given", [None, {}, {"screens": []}, {"top_n": 7}])
def test_of_the_originals_files_it_is_the_only_screen(path: Path, given: object) -> None:
    if given is not None:
        path.write_text(json.dumps(given))
    (one,) = config_file.read_all(path, DEFAULT)
    assert (one.name, one.note, one.active) == ("first screen", "", True)
    assert one.screen == (replace(DEFAULT, top_n=7) if given == {"top_n": 7} else DEFAULT)


def test_without_an_active_one_the_first_is(path: Path) -> None:
    config_file.write(path, [MINE, replace(GAINERS, active=False)])
    found = config_file.read_all(path, DEFAULT)
    assert [(one.name, one.active) for one in found] == [("mine", True), ("gainers", False)]


@pytest.mark.parametrize(
    ("screens", "field"),
    [
        (5, "screens"),
        ([5], "screens[0]"),
        ([{"name": "a", "url": URL}, {"url": URL}], "screens[1].name"),
        ([{"name": "a", "url": URL}, {"name": "A", "url": URL}], "screens[1].name"),
        ([{"name": "a", "url": "https://example.com/"}], "screens[0].url"),
        ([{"name": "a", "url": URL, "top": 5}], "screens[0].top"),
        (
            [{"name": n, "url": URL, "active": n != "b"} for n in "abc"],
            "screens[2].active",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_place(path: Path, screens: object, field: str) -> None:
    path.write_text(json.dumps({"screens": screens}))
    with pytest.raises(ScreenError) as refusal:
        config_file.read_all(path, DEFAULT)
    assert refusal.value.field == field
    assert str(refusal.value).startswith(field)
