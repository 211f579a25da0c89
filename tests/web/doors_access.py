"""Who may pass the doors of sources and tokens, as `test_doors` lists them."""

READ = (401, 401, 401, 200, 200, 200, 401)
ADMIN = (401, 401, 401, 401, 200, 200, 401)


def answered(status: int, doors: tuple[int, ...]) -> tuple[int, ...]:
    """The same doors, and what is answered to whom they open."""
    return tuple(status if one == 200 else one for one in doors)


DOORS: dict[tuple[str, str], tuple[int, ...]] = {
    ("GET", "/api/sources"): READ,
    ("POST", "/api/sources"): answered(400, READ),
    ("PATCH", "/api/sources/{name}"): answered(400, READ),
    ("POST", "/api/sources/{name}/archive"): answered(404, READ),
    ("POST", "/api/sources/{name}/tokens"): answered(404, READ),
    ("GET", "/api/tokens"): ADMIN,
    ("POST", "/api/tokens"): answered(400, ADMIN),
    ("POST", "/api/tokens/{id}/revoke"): answered(404, ADMIN),
}
