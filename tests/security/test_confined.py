"""H29: the relay as its container has it: a login that owns nothing, a root it cannot write to."""

import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError

from database.migrate import ROLE
from database.pool import Database
from launcher.docker import LOGIN
from launcher.postgres_programs import find
from tests.clones import address, created
from tests.end_to_end.stage import (
    ADMIN_TOKEN,
    CALLER,
    ROOT,
    WEBHOOK_TOKEN,
    in_the_end,
    until,
)
from tests.ports import free_port
from tests.web import stage
from tests.web.stage import relay

SCRIPT = ROOT / "deploy/postgres/relay-login.sql"
PASSWORD = "it's-a-password-0123456789"
BWRAP = shutil.which("bwrap")
USER = "10001"

# ── The login ───────────────────────────────────────────────────────────────────────────────


def _login_made(name: str, folder: Path) -> None:
    """What the postgres image does with the script, by the same program."""
    file = folder / "relay_password"
    file.write_text(PASSWORD)
    there = make_url(address(name)).set(drivername="postgresql")
    psql = (find().folder / "psql", "--no-psqlrc", "--quiet")
    subprocess.run(
        [*psql, "--file", SCRIPT, "--dbname", there.render_as_string(hide_password=False)],
        check=True,
        env={"PATH": "/usr/bin:/bin", "RELAY_PASSWORD_FILE": str(file)},
    )


@asynccontextmanager
async def made_for_the_relay(folder: Path) -> AsyncGenerator[tuple[str, str]]:
    """An empty database after the script ran in it, twice; its address for both logins."""
    name = f"confined_{uuid4().hex}"
    async with created(name):
        _login_made(name, folder)
        _login_made(name, folder)
        owner = make_url(address(name))
        own = owner.set(username=LOGIN, password=PASSWORD)
        yield (
            own.render_as_string(hide_password=False),
            owner.render_as_string(hide_password=False),
        )


FORBIDDEN = [
    "UPDATE events SET actor = 'somebody else'",
    "DELETE FROM events",
    "TRUNCATE events",
    "ALTER TABLE events DISABLE TRIGGER ALL",
    "DROP TABLE signals",
    "CREATE TABLE loot (x int)",
    "CREATE TEMPORARY TABLE loot (x int)",
    "CREATE SCHEMA loot",
    "CREATE ROLE friend SUPERUSER",
    "CREATE DATABASE loot",
    "UPDATE alembic_version SET version_num = '0001'",
    "COPY signals TO PROGRAM 'cat'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT rolpassword FROM pg_authid",
    "SET session_replication_role = replica",
]


async def test_the_relay_migrates_as_the_owner_and_works_as_who_owns_nothing(
    template: str, tmp_path: Path
) -> None:
    """`template`: the role is there, so that no other worker makes it at the same moment."""
    assert template
    async with made_for_the_relay(tmp_path) as (own, owner):
        async with relay(own, database_owner_url=owner) as one:
            answer = await one.http.post(
                f"/webhook/in/{stage.WEBHOOK_TOKEN}", json={"ticker": "AAPL", "action": "buy"}
            )
            assert answer.status_code == 202
        database = Database.connect(own, patience=timedelta(seconds=30))
        async with database.read() as connection:
            shown = (
                await connection.execute(
                    text(
                        "SELECT session_user, rolsuper OR rolcreatedb OR rolcreaterole"
                        " OR rolreplication OR rolbypassrls,"
                        " ARRAY(SELECT roleid::regrole::text FROM pg_auth_members"
                        " WHERE member = pg_roles.oid), (SELECT count(*) FROM signals)"
                        " FROM pg_roles WHERE rolname = session_user"
                    )
                )
            ).one()
        assert tuple(shown) == (LOGIN, False, [ROLE], 1)
        for statement in FORBIDDEN:
            with pytest.raises(DBAPIError, match=r"permission denied|must be owner"):
                async with database.autocommit() as connection:
                    await connection.execute(text(statement))
        await database.close()


# ── The root ────────────────────────────────────────────────────────────────────────────────


def _confined(data: Path) -> list[str]:
    """As docker-compose.yml: a read-only root, a /tmp of its own, no capability, no root."""
    users = data.with_name("passwd")
    users.write_text(f"relay:x:{USER}:{USER}::/nonexistent:/usr/sbin/nologin\n")
    packages = Path(sys.prefix)
    return [
        *(str(BWRAP), "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"),
        *("--tmpfs", "/tmp", "--ro-bind", str(users), "/etc/passwd"),
        *("--ro-bind", str(packages), str(packages), "--ro-bind", str(ROOT), str(ROOT)),
        *("--bind", str(data), str(data), "--chdir", str(ROOT)),
        *("--unshare-user", "--unshare-pid", "--unshare-ipc", "--uid", USER, "--gid", USER),
        *("--cap-drop", "ALL", "--die-with-parent", "--new-session"),
    ]


PROBE = """
for place in /x /etc/x /usr/x /var/x /root/x $0/x $0/database/x; do
  if touch $place 2>/dev/null; then echo wrote $place; fi
done
touch /tmp/x $1/x && rm $1/x && echo wrote its own
grep -E 'CapEff|NoNewPrivs' /proc/self/status
id -u
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    return folder


@pytest.mark.timeout(240)
def test_the_relay_runs_with_a_root_it_cannot_write_to(data: Path) -> None:
    if not BWRAP:
        pytest.skip("no bwrap on this machine (Debian: apt install bubblewrap)")
    fence = _confined(data)
    seen = subprocess.run(
        [*fence, "sh", "-c", PROBE, ROOT, data], check=False, capture_output=True, text=True
    )
    if seen.returncode:
        pytest.skip(f"this machine makes no namespaces: {seen.stderr.strip()[-200:]}")
    assert seen.stdout.split() == [
        *("wrote", "its", "own", "CapEff:", "0000000000000000", "NoNewPrivs:", "1", USER)
    ]

    port = free_port()
    url, output = f"http://127.0.0.1:{port}", data.with_name("output.log")
    environment = {
        "PATH": "/usr/bin:/bin",
        "RELAY_ENVIRONMENT": "system",
        "PYTHONDONTWRITEBYTECODE": "1",
        "DATA_DIR": str(data),
        "PORT": str(port),
        "WEBHOOK_TOKEN": WEBHOOK_TOKEN,
        "ADMIN_TOKEN": ADMIN_TOKEN,
        "FINVIZ_BASE_URL": "http://127.0.0.1:9",
        "FINVIZ_CONFIG_FILE": str(data / "no-such-file.json"),
    }
    with (
        output.open("wb") as said,
        subprocess.Popen(
            [*fence, sys.executable, ROOT / "run.py"], env=environment, stdout=said, stderr=said
        ) as process,
    ):
        try:

            def ready() -> bool:
                assert process.poll() is None, output.read_text()
                try:
                    return CALLER.get(f"{url}/health/ready", timeout=2).status_code == 200
                except httpx.HTTPError:
                    return False

            until(ready, 90, f"a ready relay (see {output})")
            body = {"ticker": "AAPL", "action": "buy"}
            door = f"{url}/webhook/in/{WEBHOOK_TOKEN}"
            answer = in_the_end(lambda: CALLER.post(door, json=body))
            assert answer.status_code == 202
            shown = in_the_end(lambda: CALLER.get(f"{url}/admin", follow_redirects=True))
            assert shown.status_code == 200
        finally:
            process.kill()
    assert "Read-only file system" not in output.read_text()
    assert {"logs", "postgres-18", "secrets.env"} <= {path.name for path in data.iterdir()}
