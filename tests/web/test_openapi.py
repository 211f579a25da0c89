"""The description of the interface tells all of it; what fuzzing by it has found stays mended."""

from typing import Any

import pytest
import pytest_asyncio

from tests.web.doors_access import DOORS as ACCESS
from tests.web.stage import ADMIN_TOKEN, UPDATE_TOKEN, Relay, call

pytestmark = pytest.mark.asyncio(loop_scope="module")

BEARER = [(b"authorization", f"Bearer {ADMIN_TOKEN}".encode())]
OPEN = {"/health", "/health/ready"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def document(shared: Relay) -> dict[str, Any]:
    return (await shared.get("/openapi.json", UPDATE_TOKEN)).json()


async def test_the_webhook_is_described_though_the_framework_does_not_see_it(
    document: dict[str, Any],
) -> None:
    for path in ("/webhook/in", "/webhook/in/{token}"):
        post = document["paths"][path]["post"]
        assert post["responses"].keys() == {
            *("200", "202", "400", "401", "405", "413", "415", "422", "429", "503")
        }
        contents = [answer["content"]["application/json"] for answer in post["responses"].values()]
        assert all("example" in content for content in contents)
        assert "application/json" in post["requestBody"]["content"]
        assert post["security"]


async def test_every_call_says_who_may_make_it_and_how_it_is_refused(
    document: dict[str, Any],
) -> None:
    schemes = document["components"]["securitySchemes"]
    assert (schemes["bearer"]["scheme"], schemes["session"]["in"]) == ("bearer", "cookie")
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert ("security" in operation) is (path not in OPEN), path
            assert "422" not in operation["responses"] or path.startswith("/webhook/in")
            if not path.startswith("/webhook/in"):
                refused = operation["responses"]["4XX"]["content"]
                assert "application/problem+json" in refused
                assert "example" in operation["responses"]["400"]["content"][next(iter(refused))]


async def test_scopes_are_those_of_the_doors(document: dict[str, Any]) -> None:
    def scope(method: str, path: str) -> str:
        return document["paths"][path][method]["security"][0]["bearer"][0]

    assert scope("get", "/api/signals") == "read"
    assert scope("post", "/sell/all") == "trade"
    assert scope("post", "/api/screens") == "config"
    assert scope("post", "/api/tokens") == "admin"
    assert ("POST", "/api/tokens") in ACCESS


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
async def test_a_moment_that_utc_has_not_is_refused(shared: Relay, time: str) -> None:
    """Found by `python -m tests.fuzz http`: an answer 500."""
    given = {"filter": {"until": time}, "preview": True, "as": "resend"}
    answer = await shared.http.post(
        "/api/deliveries/resolve", json=given, headers={"authorization": f"Bearer {ADMIN_TOKEN}"}
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_field")
    listed = await shared.http.get(
        "/api/activity", params={"until": time}, headers={"authorization": f"Bearer {ADMIN_TOKEN}"}
    )
    assert listed.status_code == 400


@pytest.mark.parametrize("path", ["/api/activity/export", "/api/signals/export"])
async def test_a_body_that_nobody_asked_for_does_not_cut_an_answer_off(
    shared: Relay, path: str
) -> None:
    """Found by `python -m tests.fuzz http`: an exception while the answer was streamed."""
    answer = await call(shared.app, "GET", path, BEARER, chunks=[b"x" * 40_000] * 3)
    assert answer.status in {200, 400}
