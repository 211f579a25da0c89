"""The doors of the doctor, of rehearsals and of the page of activity."""

Door = tuple[str, str]


def page(status: int) -> tuple[int, ...]:
    """Whoever is not signed in is sent to do so."""
    return (*(303,) * 5, status, 303)


DOORS: dict[Door, tuple[int, ...]] = {
    ("POST", "/api/rehearsals"): (401, 401, 401, 400, 400, 400, 401),
    ("GET", "/admin/doctor"): page(200),
    ("POST", "/admin/doctor"): page(200),
    ("POST", "/admin/doctor/send"): page(400),
    ("GET", "/admin/activity"): page(200),
    ("GET", "/admin/partials/activity"): (*(401,) * 5, 200, 401),
}
