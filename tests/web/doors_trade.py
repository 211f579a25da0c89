"""The doors of selling, of the buying pause and of positions."""

Door = tuple[str, str]

READ = (401, 401, 401, 200, 200, 200, 401)


def answering(status: int) -> tuple[int, ...]:
    return tuple(status if one == 200 else one for one in READ)


DOORS: dict[Door, tuple[int, ...]] = {
    ("POST", "/sell/individual"): answering(400),
    ("POST", "/sell/all"): answering(202),
    ("POST", "/sell/list"): answering(409),
    ("GET", "/api/batches"): READ,
    ("GET", "/api/batches/{id}"): answering(404),
    ("POST", "/api/batches/{id}/retry"): answering(404),
    ("GET", "/api/sell-list"): READ,
    ("POST", "/api/sell-list"): answering(400),
    ("DELETE", "/api/sell-list/{ticker}"): answering(404),
    ("POST", "/api/sell-list/clear"): READ,
    ("POST", "/api/sell-list/fill"): READ,
    ("GET", "/api/buying"): READ,
    ("POST", "/api/buying/pause"): READ,
    ("POST", "/api/buying/resume"): READ,
    ("GET", "/api/positions"): READ,
    ("POST", "/api/positions"): answering(400),
    ("GET", "/api/positions/stats"): READ,
    ("GET", "/api/positions/{id}"): answering(404),
    ("POST", "/api/positions/{id}/close"): answering(400),
}
