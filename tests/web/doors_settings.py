"""What each credential is answered at the pages of settings, in the order of CREDENTIALS."""

PAGE = (303, 303, 303, 303, 303, 200, 303)
PARTIAL = (401, 401, 401, 401, 401, 200, 401)
HERE = "/admin/settings"


def answered(status: int) -> tuple[int, ...]:
    """A form: to a session as its lack of fields deserves."""
    return tuple(status if one == 200 else one for one in PAGE)


DOORS: dict[tuple[str, str], tuple[int, ...]] = {
    ("POST", "/api/jobs/{id}/cancel"): (401, 401, 401, 401, 404, 404, 401),
    ("GET", HERE): PAGE,
    **{
        ("GET", f"{HERE}/{path}"): PAGE
        for path in ("sources", "tokens", "channels", "files", "sessions", "environment")
    },
    **{
        ("GET", f"/admin/partials/settings/{path}"): PARTIAL
        for path in ("sources", "tokens", "channels", "files", "sessions", "jobs/{id}")
    },
    **{
        ("GET", f"{HERE}/{path}"): answered(404)
        for path in ("sources/{name}", "channels/{id}", "jobs/{id}")
    },
    ("GET", "/admin/partials/settings/channels/{id}"): (*(401,) * 5, 404, 401),
    ("POST", f"{HERE}/rules"): answered(400),
    ("POST", f"{HERE}/rules/try"): answered(200),
    ("POST", f"{HERE}/sources"): answered(400),
    ("POST", f"{HERE}/sources/{{name}}"): answered(404),
    ("POST", f"{HERE}/sources/{{name}}/tokens"): answered(404),
    ("POST", f"{HERE}/sources/{{name}}/archive"): answered(404),
    ("POST", f"{HERE}/tokens"): answered(400),
    ("POST", f"{HERE}/tokens/{{id}}/revoke"): answered(404),
    ("POST", f"{HERE}/channels"): answered(400),
    ("POST", f"{HERE}/channels/{{id}}"): answered(404),
    ("POST", f"{HERE}/channels/{{id}}/test"): answered(404),
    ("POST", f"{HERE}/channels/{{id}}/archive"): answered(404),
    ("POST", f"{HERE}/files/look"): answered(400),
    ("POST", f"{HERE}/files/apply"): answered(400),
    ("POST", f"{HERE}/jobs/{{id}}/cancel"): answered(404),
    ("POST", f"{HERE}/sessions/{{name}}/end"): answered(400),
    ("POST", f"{HERE}/sessions/end-all"): answered(303),
}
