"""The doors of the pages of destinations and of attention."""

from tests.web.doors_trading import page, partial

Door = tuple[str, str]

DOORS: dict[Door, tuple[int, ...]] = {
    ("POST", "/api/destinations/{id}/test"): (401, 401, 401, 404, 404, 404, 401),
    ("GET", "/admin/destinations"): page(200),
    ("GET", "/admin/partials/destinations"): partial(200),
    ("GET", "/admin/destinations/{id}"): page(404),
    ("GET", "/admin/partials/destinations/{id}"): partial(404),
    ("POST", "/admin/destinations"): page(400),
    ("POST", "/admin/destinations/{id}"): page(404),
    ("POST", "/admin/destinations/{id}/address"): page(404),
    ("POST", "/admin/destinations/{id}/rotate-secret"): page(404),
    ("POST", "/admin/destinations/{id}/{order}"): page(404),
    ("GET", "/admin/attention"): page(200),
    ("GET", "/admin/partials/attention"): partial(200),
    ("GET", "/admin/attention/bulk"): page(400),
    ("POST", "/admin/attention/bulk"): page(400),
    ("POST", "/admin/attention/resolve"): page(400),
    ("POST", "/admin/attention/{id}/resolve"): page(400),
    ("POST", "/admin/attention/deliveries/{id}/{verb}"): page(404),
}
