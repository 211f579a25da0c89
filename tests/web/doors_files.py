"""What each credential is answered at the doors for files, in the order of CREDENTIALS."""

READ = (401, 401, 401, 200, 200, 200, 401)
ADMIN = (401, 401, 401, 401, 400, 400, 401)

DOORS: dict[tuple[str, str], tuple[int, ...]] = {
    ("GET", "/api/signals/export"): READ,
    ("POST", "/api/signals/import"): ADMIN,
    ("GET", "/api/jobs/{id}"): tuple(404 if one == 200 else one for one in READ),
    ("GET", "/api/config/export"): READ,
    ("POST", "/api/config/import"): tuple(400 if one == 200 else one for one in READ),
}
