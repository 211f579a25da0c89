"""Requests as schemathesis makes them of the description: what it allows, and what it does not."""

import asyncio
import random  # noqa: TID251  a seed, so that a run can be repeated
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import hypothesis
import requests as http
import schemathesis
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from tests.fuzz.world import Asked, World

BASE = "http://127.0.0.1:8000"
WHO = ("admin", "admin", "update", "nobody")
"""In turn: everything, reading alone, nothing."""


@dataclass(frozen=True, slots=True)
class Share:
    """How many cases of each kind, of which share of the operations."""

    cases: int
    operations: float
    seed: int


async def ask_all(one: World, document: Mapping[str, Any], share: Share) -> None:
    """Ask operations so often, in each way; answers have to be as they are declared.

    They are made beside the relay: PostgreSQL hangs up on whoever stops within a transaction.
    """
    cases = await asyncio.to_thread(lambda: [*_cases(document, share)])
    for number, (case, declared) in enumerate(cases):
        who = WHO[number % len(WHO)]
        asked = _asked(case, one, who, number)
        if asked is None:
            continue
        status = await one.ask(asked)
        if status and not is_declared(status, declared):
            one.judge.fault(f"undeclared {status}", asked)


def _cases(document: Mapping[str, Any], share: Share) -> Iterator[tuple[Any, Any]]:
    schema: Any = schemathesis.openapi.from_dict(cast("dict[str, Any]", document))
    chance = random.Random(share.seed)
    for found in schema.get_all_operations():
        operation = found.ok()
        if chance.random() >= share.operations:
            continue
        declared = document["paths"][operation.path][operation.method.lower()]["responses"]
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            for case in _drawn(
                operation.as_strategy(generation_mode=mode), share.cases, share.seed
            ):
                yield case, declared


def _drawn(strategy: Any, count: int, seed: int) -> list[Any]:
    """A number of examples, the same ones every time."""
    drawn: list[Any] = []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(cast("Any", hypothesis.HealthCheck)),
        verbosity=hypothesis.Verbosity.quiet,
    )
    @hypothesis.given(strategy)
    def draw(case: Any) -> None:
        drawn.append(case)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            draw()
        except Unsatisfiable:  # nothing can be wrong with a call without input
            return []
    return drawn[:count]


def _asked(case: Any, one: World, who: str, number: int) -> Asked | None:
    given = case.as_transport_kwargs(base_url=BASE)
    given = {name: value for name, value in given.items() if name not in {"verify", "cert"}}
    given["headers"] = {str(n): v for n, v in dict(given.get("headers") or {}).items()}
    try:
        made = http.Request(**given).prepare()
    except (ValueError, UnicodeError, http.RequestException):  # it cannot be put on a wire
        return None
    body = made.body.encode("utf-8", "replace") if isinstance(made.body, str) else made.body
    headers = [
        (name.lower().encode("latin-1", "replace"), _bytes(value))
        for name, value in made.headers.items()
        if name.lower() not in {"authorization", "cookie", "host"}
    ]
    return Asked(
        str(made.method),
        made.path_url.encode("ascii", "replace"),
        [*headers, *one.credentials[who]],
        body if isinstance(body, bytes) else b"",
        f"{case.operation.method.upper()} {case.operation.path}",
        f"10.0.{number // 250 % 250}.{number % 250}",
    )


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("latin-1", "replace")


def is_declared(status: int, declared: Mapping[str, Any]) -> bool:
    return bool({str(status), f"{status // 100}XX", "default"} & declared.keys())
