"""The doors of the list's pages and of their chart."""

Door = tuple[str, str]


def page(status: int) -> tuple[int, ...]:
    """Whoever is not signed in is sent to do so."""
    return (*(303,) * 5, status, 303)


def partial(status: int) -> tuple[int, ...]:
    return (*(401,) * 5, status, 401)


SCREENS = "/admin/list/screens"

DOORS: dict[Door, tuple[int, ...]] = {
    ("GET", "/api/charts/rank"): (401, 401, 401, 400, 400, 400, 401),
    ("GET", "/admin/list"): page(200),
    ("GET", "/admin/partials/list"): partial(200),
    **{("GET", f"/admin/list/{name}"): page(200) for name in ("looks", "history", "whatif")},
    ("GET", "/admin/partials/list/looks"): partial(200),
    ("POST", "/admin/list/refresh"): page(303),
    ("POST", "/admin/list/pause"): page(400),
    ("POST", "/admin/list/resume"): page(303),
    ("POST", "/admin/list/accept"): page(409),
    ("POST", "/admin/list/refuse"): page(409),
    ("GET", SCREENS): page(200),
    ("GET", f"{SCREENS}/new"): page(200),
    ("GET", f"{SCREENS}/{{id}}"): page(404),
    ("POST", SCREENS): page(400),
    ("POST", f"{SCREENS}/try"): page(400),
    ("POST", f"{SCREENS}/export"): page(303),
    ("POST", f"{SCREENS}/import"): page(400),
    ("POST", f"{SCREENS}/{{id}}"): page(404),
    **{
        ("POST", f"{SCREENS}/{{id}}/{order}"): page(404)
        for order in ("try", "duplicate", "activate", "archive", "restore")
    },
}
