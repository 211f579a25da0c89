"""Who may pass the doors of rules and of the activity log."""

READ = (401, 401, 401, 200, 200, 200, 401)
REFUSED = tuple(400 if one == 200 else one for one in READ)

DOORS: dict[tuple[str, str], tuple[int, ...]] = {
    ("GET", "/api/rules"): READ,
    ("PUT", "/api/rules"): REFUSED,
    ("PATCH", "/api/rules"): REFUSED,
    ("GET", "/api/rules/versions"): READ,
    ("GET", "/api/activity"): READ,
    ("GET", "/api/activity/export"): READ,
    ("GET", "/api/activity/trail"): READ,
}
