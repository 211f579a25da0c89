"""H22: what is written into any filter is a value; it never becomes a part of a statement."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from database import searching
from database.searching import Cursor, Wanted
from tests.web.stage import Relay

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVERYTHING = "' OR '1'='1"
METACHARACTERS = """x'"`;--/*%_$1:a\\ || pg_sleep(9) ) UNION SELECT"""
NAMED = {"id": "00000000-0000-0000-0000-000000000000", "version": "1"}
TABLES = "SELECT count(*) AS number FROM pg_class WHERE relkind = 'r'"


def filters(schema: Any) -> Iterator[tuple[str, str]]:
    """Every parameter of every question of the API."""
    for path, methods in schema["paths"].items():
        for one in methods.get("get", {}).get("parameters", []):
            if one["in"] == "query":
                yield path.format_map(NAMED), one["name"]


async def test_no_filter_becomes_a_statement(shared: Relay, listed: str) -> None:
    """An injected OR would find everything, an injected quote would be an error of the server."""
    await shared.settled(
        (await shared.post({"ticker": listed, "action": "buy"})).json()["signal_id"]
    )
    asked = list(filters(await shared.read("/openapi.json")))
    assert len(asked) > 50
    (before,) = await shared.rows(TABLES)
    for path, name in asked:
        for value in (EVERYTHING, METACHARACTERS):
            answer = await shared.get(f"{path}?{name}={quote(value)}")
            assert answer.status_code < 500, (path, name, answer.text)
            if answer.status_code == 200 and answer.headers["content-type"] == "application/json":
                found = answer.json()
                assert not found.get("items"), (path, name, value)
    (after,) = await shared.rows(TABLES)
    assert before == after


ODD = (
    *("'", "''", '"', "\\", "\\'", "%", "_", "$1", ":a", "--", "/*", "*/", ";", "{0}", "%(x)s"),
    *("\u2028", "é'"),
)


@pytest.mark.parametrize("field", ["tickers", "beginnings", "texts", "reason", "source"])
async def test_the_search_takes_anything_for_a_value(shared: Relay, field: str) -> None:
    """Below the checks of the web, which would refuse most of this."""
    for odd in ODD:
        given: dict[str, Any] = {field: [odd, EVERYTHING] if field.endswith("s") else odd}
        wanted = Wanted(**given)
        async with shared.database.read() as connection:
            found = await searching.page(connection, wanted, Cursor(), limit=5)
        assert found.signals == [], (field, odd)
