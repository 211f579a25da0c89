"""Who may pass the doors of attention and channels, as `test_doors` lists them."""

READ = (401, 401, 401, 200, 200, 200, 401)


def answered(status: int) -> tuple[int, ...]:
    """What is answered to whom these doors open; read, config and trade are one token's."""
    return tuple(status if one == 200 else one for one in READ)


DOORS: dict[tuple[str, str], tuple[int, ...]] = {
    ("GET", "/api/attention"): READ,
    ("POST", "/api/attention/resolve"): answered(400),
    ("POST", "/api/attention/{id}/resolve"): answered(400),
    ("GET", "/api/channels"): READ,
    ("POST", "/api/channels"): answered(400),
    ("PATCH", "/api/channels/{id}"): answered(400),
    ("POST", "/api/channels/{id}/test"): answered(404),
    ("POST", "/api/channels/{id}/archive"): answered(404),
    ("GET", "/api/channels/{id}/notices"): answered(404),
}
