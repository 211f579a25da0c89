"""Commands that ask a relay: each test's module says what its relay answers."""

from collections.abc import Generator
from pathlib import Path

import pytest

from config import Settings
from tests.launcher.answering import Answering, Run, commanding


@pytest.fixture
def run(
    relay: Answering,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Generator[Run]:
    with commanding(relay.port, tmp_path, monkeypatch, capsys) as run:
        yield run


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of one's own, and no setting from anywhere."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    return tmp_path
