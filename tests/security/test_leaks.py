"""The search for canaries finds one in every spelling it may have, and nothing else."""

import base64
import json
from urllib.parse import quote

import pytest

from tests.security.leaks import Canaries

SECRET = "cnry/a+b?c&\"d' 12345678"


@pytest.mark.parametrize(
    "spelling",
    [
        SECRET,
        quote(SECRET, safe=""),
        json.dumps({"x": SECRET}),
        json.dumps(json.dumps(SECRET)),
        SECRET.encode().hex(),
        SECRET.encode().hex().upper(),
        *(base64.b64encode(b"x" * n + SECRET.encode() + b"y" * n).decode() for n in range(4)),
    ],
)
def test_a_canary_is_found(spelling: str) -> None:
    assert list(Canaries({"it": SECRET}).found("here", f"a{spelling}z")) == ["it is in here"]


def test_nothing_is_found_where_nothing_is() -> None:
    assert list(Canaries({"it": SECRET}).found("here", SECRET[:-1])) == []
