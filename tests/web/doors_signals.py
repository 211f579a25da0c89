"""The doors of the search of signals, of one signal, and of what can be done about them."""

from tests.web.doors_trading import Door, page, partial

DOORS: dict[Door, tuple[int, ...]] = {
    ("GET", "/admin/signals"): page(200),
    ("GET", "/admin/partials/signals"): partial(200),
    ("GET", "/admin/partials/signals/{id}"): partial(404),
    ("GET", "/admin/partials/signals/{id}/life"): partial(404),
    ("GET", "/admin/signals/export"): page(200),
    ("GET", "/admin/signals/replay"): page(200),
    ("POST", "/admin/signals/replay"): page(400),
    ("POST", "/admin/signals/filters"): page(400),
    ("POST", "/admin/signals/filters/delete"): page(400),
    ("POST", "/admin/signals/{id}/replay"): page(404),
    **{
        ("POST", f"/admin/signals/{{id}}/deliveries/{{delivery}}/{verb}"): page(404)
        for verb in ("resend", "cancel", "resolve")
    },
}
