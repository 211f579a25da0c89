"""The doors of the pages of selling, pausing and positions."""

Door = tuple[str, str]


def page(status: int) -> tuple[int, ...]:
    """Whoever is not signed in is sent to do so."""
    return (*(303,) * 5, status, 303)


def partial(status: int) -> tuple[int, ...]:
    return (*(401,) * 5, status, 401)


DOORS: dict[Door, tuple[int, ...]] = {
    ("GET", "/admin/positions"): page(200),
    ("GET", "/admin/partials/positions"): partial(200),
    ("GET", "/admin/partials/sell-all"): partial(200),
    ("GET", "/admin/positions/past"): page(200),
    ("GET", "/admin/positions/{id}"): page(404),
    ("GET", "/admin/batches/{id}"): page(404),
    ("GET", "/admin/partials/batches/{id}"): partial(404),
    ("POST", "/admin/sell"): page(400),
    ("POST", "/admin/sell/all"): page(409),
    ("POST", "/admin/sell/list"): page(409),
    ("POST", "/admin/sell-list/add"): page(400),
    ("POST", "/admin/sell-list/remove"): page(400),
    ("POST", "/admin/positions"): page(400),
    ("POST", "/admin/positions/{id}/close"): page(404),
    ("POST", "/admin/batches/{id}/retry"): page(404),
    ("POST", "/admin/buying/pause"): page(303),
    ("POST", "/admin/buying/resume"): page(303),
}
