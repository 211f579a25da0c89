"""What a page's form posts: small, and only from our own pages."""

from urllib.parse import parse_qs

from fastapi import Request

from web.dependencies import require_same_origin
from web.errors import ProblemError

MOST_BYTES = 4_096
MOST_FIELDS = 2_000


async def fields_of(request: Request, most: int = MOST_BYTES) -> dict[str, str]:
    """The fields of a posted form, without blanks around them; empty ones are left out.

    What is ticked several times under one name comes in lines. Raises ProblemError 403 when
    another site's page posted it, 413 when it has more than ``most`` bytes.
    """
    require_same_origin(request)
    size, body = 0, b""
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise ProblemError(413, "too_large", "A form of ours is smaller than that.")
        body += chunk
    try:
        posted = parse_qs(
            body.decode("latin-1"), encoding="utf-8", errors="replace", max_num_fields=MOST_FIELDS
        )
    except ValueError:
        raise ProblemError(413, "too_large", "A form of ours has fewer fields.") from None
    joined = {name: "\n".join(values).strip() for name, values in posted.items()}
    return {name: value for name, value in joined.items() if value}
