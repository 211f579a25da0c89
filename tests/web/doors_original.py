"""The doors at the original relay's addresses: 403 where it answered so, 410 for whoever asks."""

from web.original_gone import GONE

Door = tuple[str, str]

STRATEGIES = "/admin/finviz/strategies"


def reading(status: int = 200) -> tuple[int, ...]:
    return (401, 401, 401, *(status,) * 3, 401)


def changing(status: int, no: int = 403) -> tuple[int, ...]:
    return (no, no, no, *(status,) * 3, no)


GONE_DOORS: list[Door] = [
    (method, path) for one in GONE for method, path in (was.split() for was in one.were)
]

DOORS: dict[Door, tuple[int, ...]] = {
    **{
        ("GET", f"/admin/{path}"): reading()
        for path in (
            *("sell-all-queue", "orders", "orders/stats", "top-n-tickers", "finviz/config"),
            *("finviz/strategies", "finviz/strategies/active", "webhook/config"),
        )
    },
    **{
        ("POST", f"/admin/{path}"): changing(400)
        for path in (
            *("order/sell-individual", "order/close-position", "sell-all-queue"),
            *("webhook/update", "webhook-rate-limiter/update", "engine/pause"),
        )
    },
    ("POST", "/admin/order/sell-all"): changing(200),
    ("POST", "/admin/orders/{id}/close"): changing(404),
    ("POST", "/admin/engine/resume"): changing(204),
    ("POST", "/admin/engine/manual-refresh"): changing(204),
    ("POST", STRATEGIES): changing(400, 401),
    ("PUT", f"{STRATEGIES}/{{id}}"): changing(400, 401),
    ("DELETE", f"{STRATEGIES}/{{id}}"): changing(404, 401),
    ("POST", f"{STRATEGIES}/{{id}}/activate"): changing(404, 401),
    ("POST", f"{STRATEGIES}/{{id}}/duplicate"): changing(404, 401),
    **dict.fromkeys(GONE_DOORS, (410,) * 7),
}
