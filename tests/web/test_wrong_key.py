"""A relay that is started with another ENCRYPTION_KEY says so; nothing of it is a riddle."""

import base64
import logging

import pytest

from tests.web.stage import cloned, relay

OTHER = base64.b64encode(bytes(range(32))).decode()


async def test_another_key_is_told_in_the_log_and_to_who_asks(
    template: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with cloned(template) as url:
        async with relay(url) as first:
            assert len((await first.read("/api/destinations"))["items"]) == 1
        assert "key.does_not_open" not in caplog.text
        with caplog.at_level(logging.ERROR):
            async with relay(url, encryption_key=OTHER) as one:
                assert ("furnishing", logging.ERROR, "key.does_not_open") in caplog.record_tuples
                answer = await one.get("/api/destinations")
                assert (answer.status_code, answer.json()["code"]) == (500, "wrong_key")
                assert "ENCRYPTION_KEY" in answer.json()["detail"]
                taken = await one.post({"ticker": "AAPL", "action": "sell"})
                assert taken.status_code == 202
        async with relay(url) as again:
            assert len((await again.read("/api/destinations"))["items"]) == 1
