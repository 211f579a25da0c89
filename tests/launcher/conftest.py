"""Commands that ask a relay: each test's module says what its relay answers."""

from collections.abc import Generator
from pathlib import Path

import pytest

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
