"""Who may pass the doors of the overview, its charts and the first steps."""

READ = (401, 401, 401, 200, 200, 200, 401)
PAGE = (303, 303, 303, 303, 303, 200, 303)
PARTIAL = (401, 401, 401, 401, 401, 200, 401)

DOORS: dict[tuple[str, str], tuple[int, ...]] = {
    **{("GET", f"/api/charts/{name}"): READ for name in ("signals", "latency", "budget", "list")},
    ("GET", "/admin/first-steps"): PAGE,
    ("GET", "/admin/partials/first-steps"): PARTIAL,
    ("GET", "/admin/partials/work"): PARTIAL,
}
