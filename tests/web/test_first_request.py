"""The first to ask waits for nothing that could have been done before."""

import fastapi.routing
import pytest

from tests.web.stage import http_scope
from web.app import framework


@pytest.mark.parametrize("path", ["/health", "/admin/doctor", "/nothing/that/is/there"])
def test_every_route_is_prepared_before_the_first_request(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = framework(f"for {path}")
    prepared: list[object] = []

    def noted(*_args: object, **given: object) -> None:
        prepared.append(given)

    monkeypatch.setattr(fastapi.routing, "get_dependant", noted)
    for route in app.routes:
        route.matches(http_scope("GET", path, []))
    assert prepared == []


def test_applications_of_a_process_share_their_routes() -> None:
    assert framework("0") is framework("0")
