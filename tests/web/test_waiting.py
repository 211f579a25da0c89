"""A database that starts beside us is waited for; one that never answers ends the start."""

import logging
from datetime import timedelta
from pathlib import Path

import pytest

import furnishing
from engines.access.keyring import Keyring
from tests.engines.wire import wired
from tests.web.stage import cloned, relay


async def test_a_database_that_comes_late_is_waited_for(
    template: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with cloned(template) as url, wired(url, tmp_path) as (wire, through):
        wire.down = True

        class Comes(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                if record.getMessage() == "database.awaited":
                    wire.down = False

        log = logging.getLogger("furnishing")
        handler = Comes()
        log.addHandler(handler)
        try:
            with caplog.at_level(logging.WARNING, "furnishing"):
                async with relay(through, own_url=url) as one:
                    assert (await one.http.get("/health/ready")).status_code == 200
        finally:
            log.removeHandler(handler)
        assert "database.awaited" in caplog.text


async def test_one_that_goes_away_in_the_midst_of_a_start_is_waited_for(
    template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prepared, then gone, before every token is known."""
    tried: list[Keyring] = []
    refresh = Keyring.refresh

    async def goes_away(keyring: Keyring) -> None:
        tried.append(keyring)
        if len(tried) == 1:
            raise ConnectionRefusedError
        await refresh(keyring)

    monkeypatch.setattr(Keyring, "refresh", goes_away)
    async with (
        cloned(template) as url,
        wired(url, tmp_path) as (_, through),
        relay(through, own_url=url) as one,
    ):
        assert (await one.http.get("/health/ready")).status_code == 200
    assert len(tried) > 1


async def test_one_that_never_answers_is_said_in_a_line(
    template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(furnishing, "PATIENCE", timedelta(0))
    async with cloned(template) as url, wired(url, tmp_path) as (wire, through):
        wire.down = True
        with pytest.raises(AssertionError, match="the database did not answer"):
            async with relay(through, own_url=url, wait=False):
                pass
