"""A command is read whatever content type its sender gave it, as an alert is."""

import json

import pytest

from tests.web.stage import UPDATE_TOKEN, Relay

pytestmark = pytest.mark.asyncio(loop_scope="module")

BODY = json.dumps({"ticker": "NOTHELD", "token": UPDATE_TOKEN})


@pytest.mark.parametrize(
    "given",
    [
        "application/x-www-form-urlencoded",
        "application/x-www-form-urlencoded; charset=utf-8",
        "text/plain",
        "Text/Plain; charset=UTF-8",
        "application/json",
        None,
    ],
)
async def test_a_command_of_curl_is_read(shared: Relay, given: str | None) -> None:
    headers = {"content-type": given} if given else {}
    answer = await shared.http.post("/sell/individual", content=BODY, headers=headers)
    assert answer.status_code == 409, answer.text
    assert answer.json()["code"] == "no_position"


async def test_what_is_no_json_is_refused_all_the_same(shared: Relay) -> None:
    answer = await shared.http.post(
        "/sell/individual", content=b"ticker=AAPL", headers={"content-type": "text/plain"}
    )
    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid_field"


async def test_pages_read_their_forms(shared: Relay) -> None:
    answer = await shared.http.post("/admin/login", data={"token": "wrong"})
    assert answer.status_code == 401
    assert "That did not work." in answer.text
