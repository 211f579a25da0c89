import json
from datetime import timedelta
from pathlib import Path

import pytest

from domain.screen import EXAMPLE_URL, Screen, ScreenError
from engines.universe import config_file

DEFAULT = Screen(url=EXAMPLE_URL, top_n=15, refresh=timedelta(seconds=180))
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
            Screen(url=config_file.parse_screen_url(URL), top_n=5, refresh=timedelta(seconds=60)),
        ),
        (
            {"finviz_url": URL, "refresh_interval_sec": 7.5},
            Screen(url=config_file.parse_screen_url(URL), top_n=15, refresh=timedelta(seconds=7.5)),
        ),
        ({"top_n": 5.0}, Screen(url=EXAMPLE_URL, top_n=5, refresh=timedelta(seconds=180))),
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
