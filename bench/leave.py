"""From accepted to leaving: how long after its 202 an alert reaches an idle destination."""

import asyncio
import itertools
import statistics
import time

import httpx
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from bench.stage import TOKEN, alerts, relay
from demo.asgi import answer, body_of
from demo.finviz import MadeUpFinviz, made_up_market


class Arrivals:
    """A destination that notes when each id arrived, and answers at once."""

    def __init__(self) -> None:
        self.at: dict[str, float] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])
        self.at.setdefault(headers[b"webhook-id"].decode(), time.perf_counter())
        await body_of(receive)
        await answer(send, 200, b"ok", "text/plain")


def run(rate: int = 50, seconds: float = 10.0) -> dict[str, float]:
    """Open loop at ``rate`` a second; print and return percentiles in milliseconds."""
    return asyncio.run(_run(rate, seconds))


async def _run(rate: int, seconds: float) -> dict[str, float]:
    market, arrivals = made_up_market(5, 200), Arrivals()
    finviz = await _serve(MadeUpFinviz(market, step=500))
    destination = await _serve(arrivals)
    settings = {
        "FINVIZ_BASE_URL": finviz,
        "DEST_WEBHOOK_URL": f"{destination}/hook",
        "PRIVATE_DESTINATIONS": "127.0.0.0/8",
        "DEST_WEBHOOK_RATE_LIMITING_ENABLED": "false",
        "TOP_N": "200",
    }
    tickers = [listing.ticker for listing in market]
    stage = relay(**settings)
    server = await asyncio.to_thread(stage.__enter__)
    try:
        await asyncio.sleep(3)
        accepted = await _post(server.port, tickers, rate, seconds)
        await asyncio.sleep(1)
    finally:
        await asyncio.to_thread(stage.__exit__, None, None, None)
    return _report(accepted, arrivals.at, rate)


async def _serve(app: ASGIApp) -> str:
    config = uvicorn.Config(app, port=0, log_level="critical", lifespan="off", access_log=False)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        assert not task.done()
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    return f"http://127.0.0.1:{port}"


async def _post(port: int, tickers: list[str], rate: int, seconds: float) -> dict[str, float]:
    accepted: dict[str, float] = {}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:

        async def one(body: bytes) -> None:
            answer = await client.post(f"/webhook/in/{TOKEN}", content=body)
            accepted[answer.json()["signal_id"]] = time.perf_counter()

        began = time.perf_counter()
        async with asyncio.TaskGroup() as posting:
            for number, body in enumerate(itertools.islice(alerts(tickers), int(rate * seconds))):
                await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
                posting.create_task(one(body))
    return accepted


def _report(accepted: dict[str, float], arrived: dict[str, float], rate: int) -> dict[str, float]:
    waits = sorted(
        max(0.0, arrived[id] - at) * 1000 for id, at in accepted.items() if id in arrived
    )
    found = {
        "sent": float(len(accepted)),
        "arrived": float(len(waits)),
        "p50 ms": statistics.median(waits),
        "p99 ms": waits[int(len(waits) * 0.99)],
        "max ms": waits[-1],
    }
    print(f"  at {rate}/s: " + ", ".join(f"{name} {value:.1f}" for name, value in found.items()))
    return found
