"""docker-compose.yml without Docker: the same processes, started by hand, on addresses of loopback.

What a service is told is what its container would be told: the command and variables of Dockerfile
and compose file, secrets as files in /run/secrets, the volume at /data, an ordinary user, a root
that cannot be written to (bubblewrap). Other than there: addresses are 127.X.Y.n instead of
172.31.250.n, PostgreSQL is the embedded one and asks for no password, nginx is the machine's and is
told the replicas' addresses, which Docker's name server would tell it.
"""

import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import httpx
from sqlalchemy import make_url

from launcher import docker
from launcher.environment import ROOT
from launcher.postgres import LocalPostgres
from launcher.postgres_programs import find
from tests.deploy import files
from tests.end_to_end.stage import CALLER, until

BWRAP = shutil.which("bwrap")
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/sbin")
SOCKETS = "/run/postgresql"
GIVEN = {
    "FINVIZ_BASE_URL": "http://127.0.0.1:9",  # nobody: nothing leaves this machine
    "FINVIZ_CONFIG_FILE": "/data/no-such-file.json",
}
"""What the operator's .env would hold."""

Process = subprocess.Popen[bytes]


# ── The confinement ─────────────────────────────────────────────────────────────────────────


def root(binds: Mapping[str, Path], *, user: str, writable: Sequence[str] = ()) -> list[str]:
    """A container's root: the system's programs, what is mounted, nothing else; read-only."""
    command = [str(BWRAP), "--dev", "/dev", "--proc", "/proc"]
    for place in ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc"):
        if Path(place).is_symlink():
            command += ["--symlink", str(Path(place).readlink()), place]
        elif Path(place).exists():
            command += ["--ro-bind", place, place]
    if not sys.base_prefix.startswith("/usr/") and sys.base_prefix != "/usr":
        command += ["--ro-bind", sys.base_prefix, sys.base_prefix]
    command += ["--tmpfs", "/tmp"]
    for inside, outside in binds.items():
        command += ["--bind" if inside in writable else "--ro-bind", str(outside), inside]
    command += ["--remount-ro", "/", "--unshare-user", "--unshare-pid", "--unshare-ipc"]
    command += ["--uid", user, "--gid", user, "--cap-drop", "ALL"]
    return [*command, "--die-with-parent", "--new-session"]


def forbidden() -> str | None:
    """Why this machine cannot do it."""
    if not BWRAP:
        return "no bwrap on this machine (Debian: apt install bubblewrap)"
    if not NGINX:
        return "no nginx on this machine"
    tried = subprocess.run(
        [*root({}, user="10001"), "true"], check=False, capture_output=True, text=True
    )
    return f"no namespaces here: {tried.stderr.strip()[-200:]}" if tried.returncode else None


# ── The project ─────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class Project:
    """docker-compose.yml, on the addresses 127.X.Y.n of ``network``."""

    folder: Path
    sockets: Path
    network: str
    replicas: list[str] = field(default_factory=list[str])
    running: dict[str, Process] = field(default_factory=dict[str, Process])

    @property
    def secrets(self) -> Path:
        return self.folder / "secrets"

    def at(self, number: int) -> str:
        return f"{self.network}.{number}"

    def placed(self, text: str) -> str:
        """Addresses of the network `edge` as they are here."""
        return text.replace("172.31.250", self.network)

    @property
    def url(self) -> str:
        return f"http://{self.at(2)}:8080"

    def environment(self, address: str) -> dict[str, str]:
        service = files.services()["app"]
        given = GIVEN | files.image_environment() | files.environment(service, {})
        given["PATH"] = given["PATH"].replace("$PATH", "/usr/bin:/bin")
        return {name: self.placed(text) for name, text in given.items()} | {"HOST": address}

    def app(self, address: str, command: Sequence[str] = ()) -> list[str]:
        """A command in a container of `app`: the image's own, if none is given."""
        service = files.services()["app"]
        binds = {"/opt/venv": Path(sys.prefix), SOCKETS: self.sockets}
        binds |= {f"/app/{one.name}": one for one in files.in_image()}
        binds |= {f"/run/secrets/{name}": self.secrets / name for name in service["secrets"]}
        [volume] = service["volumes"]
        there = volume.partition(":")[2]
        fence = root(
            {**binds, there: self.folder / "relay"},
            user=files.image_user(),
            writable=[there],
        )
        assert self.environment(address)["DATA_DIR"] == there
        return [*fence, "--chdir", "/app", *(command or files.image_command())]

    def start_app(self, number: int) -> None:
        """A replica, as `--scale app=N` makes the next: Docker gives addresses from .128 on."""
        address = self.at(128 + number)
        self.replicas.append(address)
        self.start(f"app-{number}", self.app(address), self.environment(address))

    def run_app(self, *command: str) -> str:
        """As `docker compose exec app …` in the first replica; what it printed."""
        address = self.replicas[0]
        done = subprocess.run(
            self.app(address, command),
            env=self.environment(address),
            check=False,
            capture_output=True,
            text=True,
        )
        assert not done.returncode, done.stderr
        return done.stdout.strip()

    def start_proxy(self) -> None:
        service = files.services()["proxy"]
        [(here, there, _)] = [each.split(":") for each in service["volumes"]]
        mine = self.folder / "nginx.conf"
        mine.write_text(self._proxys((ROOT / here).read_text()))
        fence = root({there: mine}, user=service["user"].partition(":")[0])
        self.start("proxy", [*fence, *service["command"], "-e", "stderr"], {"PATH": "/usr/sbin"})

    def _proxys(self, text: str) -> str:
        """The file as it is, but for Docker's name server and addresses."""
        each = "server {}:8000 max_fails=1 fail_timeout=2s;".format
        changes = {
            "server app:8000 resolve max_fails=1 fail_timeout=2s;": " ".join(
                map(each, self.replicas)
            ),
            "resolver 127.0.0.11 valid=5s;": f"proxy_bind {self.at(2)};",
            "listen 8080;": f"listen {self.at(2)}:8080;",
        }
        for old, new in changes.items():
            assert old in text, f"{old} is not in the file any more"
            text = text.replace(old, new)
        return self.placed(text)

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        with (self.folder / f"{name}.log").open("wb") as said:
            self.running[name] = subprocess.Popen(
                command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=said, stderr=said
            )

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def is_healthy(self, address: str, port: int = 8000) -> bool:
        """What the health checks of the compose file ask."""
        for name, process in self.running.items():
            assert process.poll() is None, (name, self.log(name))
        with suppress(httpx.HTTPError):
            return CALLER.get(f"http://{address}:{port}/health", timeout=2).status_code == 200
        return False

    def stop(self, name: str, *, fenced: bool = True) -> int:
        """SIGTERM to what the container runs, as its init passes it on; the exit code."""
        process = self.running.pop(name)
        if process.poll() is None:
            [inside] = children(children(process.pid)[0]) if fenced else [process.pid]
            os.kill(inside, signal.SIGTERM)
        return process.wait(60)

    def crash(self, name: str) -> None:
        """kill -9 of a container: nothing of it is left."""
        process = self.running.pop(name)
        process.kill()
        process.wait(30)

    def kill(self) -> None:
        for process in self.running.values():
            process.kill()
            process.wait()


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _database(folder: Path, postgres: LocalPostgres) -> None:
    """What the image of PostgreSQL does with its variables, and with the script that is mounted."""
    psql = [str(find().folder / "psql"), "--no-psqlrc", "--quiet"]
    own = make_url(postgres.dsn)
    make = "CREATE ROLE relay SUPERUSER LOGIN; CREATE DATABASE relay OWNER relay"
    for statement in make.split("; "):
        subprocess.run([*psql, postgres.dsn, "--command", statement], check=True)
    owner = own.set(username=docker.OWNER, database="relay").render_as_string()
    script = ROOT / "deploy/postgres/relay-login.sql"
    subprocess.run(
        [*psql, owner, "--file", script],
        check=True,
        env={"PATH": "/usr/bin:/bin", "RELAY_PASSWORD_FILE": str(folder / "relay_password")},
    )


def _addresses(secrets: Path) -> None:
    """The two files as they are, but for where PostgreSQL is."""
    for name in ("database_url", "database_owner_url"):
        file = secrets / name
        text = file.read_text()
        assert "@postgres:5432/relay" in text
        file.unlink()
        file.write_text(text.replace("postgres:5432/relay", f"/relay?host={quote(SOCKETS)}"))


@contextmanager
def up(folder: Path, replicas: int = 3) -> Generator[Project]:
    """`docker compose up --detach --wait --scale app=N`."""
    data = folder / "postgres"
    data.mkdir()
    with ExitStack() as stack:
        postgres = stack.enter_context(LocalPostgres(data))
        sockets = Path(str(make_url(postgres.dsn).query["host"]))
        network = f"127.{16 + secrets.randbelow(230)}.{secrets.randbelow(250)}"  # others run too
        project = Project(folder, sockets, network)
        docker.make_secrets(project.secrets, None)
        _database(project.secrets, postgres)
        _addresses(project.secrets)
        (folder / "relay").mkdir(mode=0o700)
        stack.callback(project.kill)
        for number in range(1, replicas + 1):
            project.start_app(number)
        for address in project.replicas:
            until(lambda at=address: project.is_healthy(at), 120, f"a healthy replica at {address}")
        project.start_proxy()
        until(lambda: project.is_healthy(project.at(2), 8080), what="a healthy proxy")
        yield project


def secrets_of(project: Project) -> dict[str, str]:
    lines = (project.folder / "relay" / "secrets.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and line[0] != "#")
