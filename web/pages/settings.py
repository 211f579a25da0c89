"""What the pages of settings share: an answer that is a page, and what fields of forms become."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from fastapi.responses import Response
from pydantic import ValidationError

from web.errors import ProblemError
from web.forms import MOST_BYTES
from web.pages.forms import Done, Fields, act
from web.pages.shell import Page, Visitor

EVERYWHERE = "here at once, in every other replica within 2 s"
"""How soon a change counts."""


async def shown(
    visitor: Visitor,
    do: Callable[[Fields], Awaitable[Page]],
    again: Callable[[Fields, str], Awaitable[Page]],
    *,
    sensitive: bool = False,
    most: int = MOST_BYTES,
) -> Response:
    """What a form asks for is a page itself: something that is only looked at, or shown once."""
    made: list[Page] = []

    async def doing(fields: Fields) -> Done:
        made.append(await do(fields))
        return Done("")

    answer = await act(visitor, doing, again, sensitive=sensitive, most=most)
    return made[0].render() if made else answer


def proved(visitor: Visitor) -> Visitor:
    """The visitor as he is inside a sensitive form: he has shown a token."""
    return replace(visitor, visit=replace(visitor.visit, proved=True))


def number(fields: Mapping[str, str], name: str, words: str) -> float | None:
    """A number of a form; None where it is empty. Raises ProblemError, in these words."""
    if name not in fields:
        return None
    try:
        return float(fields[name].replace(",", "."))
    except ValueError:
        raise ProblemError(400, "invalid_field", f"{words}: not a number", field=name) from None


def whole(fields: Mapping[str, str], name: str, words: str) -> int | None:
    """A whole number of a form; None where it is empty. Raises ProblemError."""
    given = number(fields, name, words)
    if given is not None and given != given // 1:
        raise ProblemError(400, "invalid_field", f"{words}: not a whole number", field=name)
    return None if given is None else int(given)


def tickers(fields: Mapping[str, str], name: str) -> list[str]:
    """Tickers in any arrangement: lines, commas, blanks."""
    return [one for one in re.split(r"[\s,;]+", fields.get(name, "")) if one]


def first_problem(error: ValidationError, names: Mapping[str, str]) -> ProblemError:
    """What pydantic finds wrong first, by the words that the form has for it."""
    first = error.errors(include_url=False, include_input=False)[0]
    path = [str(part) for part in first["loc"]]
    named = next((names[part] for part in reversed(path) if part in names), None)
    field = ".".join(path)[:64] or "form"
    return ProblemError(400, "invalid_field", f"{named or field}: {first['msg']}", field=field)
