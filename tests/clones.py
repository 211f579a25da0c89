"""A fresh database for whoever asks: a clone of a migrated one."""

import asyncio
import os
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import uuid4

from sqlalchemy import make_url, text

from database.pool import Database

SERVER = os.environ.get("TEST_DATABASE_URL", "").replace("+asyncpg", "")  # noqa: TID251  the one setting tests have


def address(name: str) -> str:
    """Of a database of the server."""
    url = make_url(SERVER).set(drivername="postgresql+asyncpg", database=name)
    return url.render_as_string(hide_password=False)


def server() -> Database:
    """Whence others are made and dropped."""
    return Database.connect(address("postgres"), pool=1, patience=timedelta(seconds=60))


async def execute(there: Database, statement: str) -> None:
    """What no transaction may hold: CREATE and DROP DATABASE."""
    async with there.autocommit() as connection:
        await connection.execute(text(statement))


@asynccontextmanager
async def created(name: str, more: str = "") -> AsyncGenerator[None]:
    """A database that is dropped at the end."""
    there = server()
    await execute(there, f"CREATE DATABASE {name} {more}")
    try:
        yield
    finally:
        await execute(there, f"DROP DATABASE {name} WITH (FORCE)")
        await there.close()


class Clones:
    """Makes and drops them by one connection, in a thread of its own: each test has another loop.

    FILE_COPY takes half of the server's time that WAL_LOG does, and copies the caches of a
    catalogue along, which the first connections to a new database otherwise build. Nothing is made
    ahead: it would be made beside a test that counts on a calm server.
    """

    def __init__(self, template: str) -> None:
        self._template = template
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="clones", daemon=True)
        self._thread.start()
        self._server = server()

    async def execute(self, statement: str) -> None:
        there = asyncio.run_coroutine_threadsafe(execute(self._server, statement), self._loop)
        await asyncio.wrap_future(there)

    @asynccontextmanager
    async def fresh(self) -> AsyncGenerator[str]:
        """The name of a database of one's own."""
        name = f"test_{uuid4().hex}"
        await self.execute(f"CREATE DATABASE {name} TEMPLATE {self._template} STRATEGY FILE_COPY")
        try:
            yield name
        finally:
            await self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._server.close(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


OPEN: dict[str, Clones] = {}
"""By template."""


@asynccontextmanager
async def fresh(template: str) -> AsyncGenerator[str]:
    """The name of a clone of this template, which is dropped at the end."""
    if template in OPEN:
        async with OPEN[template].fresh() as name:
            yield name
        return
    name = f"test_{uuid4().hex}"
    async with created(name, f"TEMPLATE {template} STRATEGY FILE_COPY"):
        yield name
