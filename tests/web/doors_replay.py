"""Who may pass the doors of replays and of commands over many deliveries, for `test_doors`."""

CHANGE = (401, 401, 401, 200, 200, 200, 401)


def answered(status: int) -> tuple[int, ...]:
    """What is answered to whom these doors open."""
    return tuple(status if one == 200 else one for one in CHANGE)


DOORS: dict[tuple[str, str], tuple[int, ...]] = {
    ("POST", "/api/signals/{id}/replay"): answered(404),
    ("POST", "/api/deliveries/{id}/resend"): answered(404),
    ("POST", "/api/signals/replay"): answered(400),
    ("POST", "/api/deliveries/resend"): answered(400),
    ("POST", "/api/deliveries/cancel"): answered(400),
    ("POST", "/api/deliveries/resolve"): answered(400),
}
