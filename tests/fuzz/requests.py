"""Fuzzed requests at the whole application: most of them raw, some as schemathesis makes them."""

import asyncio
import importlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.chaos.report import machine
from tests.fuzz.mutants import Document, Maker
from tests.fuzz.world import Troubles, World, listened, world
from tests.web.test_doors import DOORS

EVERY = 20.0
AGAIN = 250
"""Requests until a new session and other rows are asked for."""
IDS = ("signals", "deliveries", "positions", "destinations", "tokens", "screens", "attention")


@dataclass(frozen=True, slots=True)
class Plan:
    """How many requests, and from which seed. Schemathesis makes ``per_operation`` of each
    kind, wanted and unwanted, for a ``share`` of the operations.
    """

    requests: int
    seed: int = 1
    per_operation: int = 0
    share: float = 1.0


async def run(plan: Plan, template: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Ask until enough was asked; return what was seen."""
    began = time.monotonic()
    if plan.per_operation:  # now: no relay could do anything meanwhile
        importlib.import_module("tests.fuzz.schema")
    with listened() as troubles:
        async with world(template) as one:
            document = await one.relay.read("/openapi.json")
            if plan.per_operation:
                from tests.fuzz.schema import Share, ask_all  # noqa: PLC0415  seconds to load

                share = Share(plan.per_operation, plan.share, plan.seed)
                await ask_all(one, document, share)
                say(f"{one.judge.requests} requests by schemathesis, {passed(began)} s")
            await _raw(plan, one, with_pages(document), say)
            assert await one.sound(), "it still answers"
        return told(plan, one, troubles, time.monotonic() - began)


def passed(began: float) -> int:
    return round(time.monotonic() - began)


async def _raw(plan: Plan, one: World, document: Document, say: Callable[[str], None]) -> None:
    began, said = time.monotonic(), 0.0
    maker = Maker(document, (), plan.seed)
    while one.judge.requests < plan.requests:
        if one.judge.requests % AGAIN == 0:
            await one.sign_in()
            maker.ids = await ids(one)
        await one.ask(maker.asked(one.credentials))
        if time.monotonic() - began - said > EVERY:
            said = time.monotonic() - began
            say(f"{one.judge.requests} requests, {dict(one.judge.classes)}, {passed(began)} s")
        await asyncio.sleep(0)


async def ids(one: World) -> list[str]:
    """Of rows that exist, so that more is reached than a 404."""
    lists = " UNION ALL ".join(f"(SELECT id::text FROM {table} LIMIT 5)" for table in IDS)
    return [row[0] for row in await one.relay.rows(lists)]


def with_pages(document: Document) -> dict[str, Any]:
    """The interface and every page, which the description leaves out."""
    paths = {path: dict(operations) for path, operations in document["paths"].items()}
    for method, path in DOORS:
        if path not in document["paths"] or method.lower() not in document["paths"][path]:
            paths.setdefault(path, {})[method.lower()] = _page(method, path)
    return {**document, "paths": paths}


def _page(method: str, path: str) -> dict[str, Any]:
    named = [part.strip("{}").partition(":")[0] for part in path.split("/") if part[:1] == "{"]
    form = {"application/x-www-form-urlencoded": {"schema": {"type": "object"}}}
    return {
        "parameters": [{"name": name, "in": "path", "schema": {}} for name in named],
        **({"requestBody": {"content": form}} if method != "GET" else {}),
    }


def told(plan: Plan, one: World, troubles: Troubles, seconds: float) -> dict[str, Any]:
    judge = one.judge
    return {
        "machine": machine(),
        "seed": plan.seed,
        "requests": judge.requests,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(time.process_time(), 1),
        "per_second": round(judge.requests / seconds),
        "by_class": dict(sorted(judge.classes.items())),
        "operations": len(judge.operations),
        "asked_least": min(judge.operations.values(), default=0),
        "canaries": len(judge.canaries),
        **{f"{kind}s": judge.faults[kind] for kind in ("answer", "exception", "hang", "canary")},
        "faults": dict(judge.faults),
        "logged_errors": dict(troubles.counted),
        "examples": list(_examples(one, troubles)),
    }


def _examples(one: World, troubles: Troubles) -> Iterator[str]:
    yield from (f"{kind}: {example}" for kind, example in list(one.judge.examples.items())[:20])
    yield from troubles.traces


def is_clean(figures: dict[str, Any]) -> bool:
    return not figures["faults"] and not figures["logged_errors"]
