"""What is to be seen of a project that stands: each look returns a line, or fails."""

import json
import shutil
from collections.abc import Iterator
from typing import Any

import httpx
import yaml
from websockets.sync.client import connect

from launcher.environment import ROOT
from tests.deploy import files
from tests.deploy.containers import Project, secrets_of
from tests.end_to_end.stage import CALLER, in_the_end, until

SERIES = 'relay_alerts_total{answer="202"}'


def look(project: Project) -> Iterator[str]:
    """All of it, in this order: the last look takes a replica away."""
    yield who_runs(project)
    token = metrics_token(project)
    yield spread(project, token)
    yield scraped(project, token)
    yield watched(project, token)
    yield heard(project, token)
    yield backed_up(project)
    yield survives(project)


def post(project: Project, number: int) -> int:
    """As TradingView does: what is answered 503, as on a slow machine, is sent again; 200 is what
    had been taken then all the same.
    """
    address = f"{project.url}/webhook/in/{secrets_of(project)['WEBHOOK_TOKEN']}"
    body = {"ticker": "AAPL", "action": "buy", "n": number}
    return in_the_end(lambda: CALLER.post(address, json=body, timeout=20)).status_code


TAKEN = {200, 202}


def who_runs(project: Project) -> str:
    """Inside a replica: nobody, with no capability, on a root that takes nothing."""
    asked = "id -u; grep CapEff /proc/self/status; touch /app/x /x 2>&1 | grep -c Read-only"
    user, capabilities, refused = project.run_app("sh", "-c", asked).splitlines()
    assert user == files.image_user()
    assert capabilities.split()[1] == "0" * 16
    assert refused == "2"
    return f"replicas run as {user}, with no capability, on a read-only root"


def metrics_token(project: Project) -> str:
    """As `run.py docker --monitoring` gets it; it can read, and nothing else."""
    token = project.run_app("python", "-m", "launcher.metrics_token")
    shown = {"authorization": f"Bearer {token}"}
    sell = f"{project.url}/sell/all"
    refused = in_the_end(lambda: CALLER.post(sell, json={}, headers=shown, timeout=20))
    assert refused.status_code == 401, refused.text
    until(lambda: all(told(one, token) == 200 for one in project.replicas), what="a known token")
    return token


def told(address: str, token: str) -> int:
    """How a replica answers who would know its numbers."""
    shown = {"authorization": f"Bearer {token}", "host": "app:8000"}
    return CALLER.get(f"http://{address}:8000/metrics", headers=shown, timeout=20).status_code


def taken(project: Project, token: str) -> dict[str, float]:
    """How many alerts each replica took, as Prometheus is told."""
    found: dict[str, float] = {}
    for address in project.replicas:
        answer = CALLER.get(
            f"http://{address}:8000/metrics",
            headers={"authorization": f"Bearer {token}", "host": "app:8000"},
            timeout=20,
        )
        assert answer.status_code == 200, answer.text
        lines = dict(line.rsplit(" ", 1) for line in answer.text.splitlines() if line[:1] != "#")
        found[address] = float(lines.get(SERIES, 0))
    return found


def spread(project: Project, token: str) -> str:
    """What was taken without a word of it may count as refused by the replica that was slow; one
    that was is left out by the proxy for two seconds.
    """
    answers: list[int] = []
    found: dict[str, float] = {}

    def everybody() -> bool:
        for _ in range(4 * len(project.replicas)):
            answers.append(post(project, len(answers)))
        found.update(taken(project, token))
        return all(found.values())

    until(everybody, 60, "an alert to each replica")
    assert set(answers) <= TAKEN
    assert answers.count(202) <= sum(found.values()) <= len(answers)
    return f"{len(answers)} alerts spread over {len(found)} replicas: {[*found.values()]}"


def scraped(project: Project, token: str) -> str:
    """What deploy/prometheus/prometheus.yml would ask: each replica, by a file with the token."""
    job = relays_job(yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text()))
    assert job["authorization"]["credentials_file"] == "/run/secrets/metrics_token"
    assert "metrics_token" in files.services()["prometheus"]["secrets"]
    path = job.get("metrics_path", "/metrics")
    for address in project.replicas:
        without = CALLER.get(f"http://{address}:8000{path}", timeout=20)
        assert without.status_code == 401
    assert len(taken(project, token)) == len(project.replicas)
    return f"{path} of each replica answers who has the token, and nobody else"


def watched(project: Project, token: str) -> str:
    """Prometheus itself, where it is installed: its command, its file, the same rules."""
    program = shutil.which("prometheus")
    if not program:
        return "no Prometheus on this machine: not started"
    folder = project.folder / "prometheus"
    shutil.copytree(ROOT / "deploy/prometheus", folder)
    (folder / "token").write_text(token)
    asked = files.services()["prometheus"]["command"]
    at = f"{project.at(5)}:9090"
    told = [one.replace("/etc/prometheus", str(folder)) for one in asked]
    told = [one.replace("=/prometheus", f"={folder}/data") for one in told]
    file = folder / "prometheus.yml"
    given = yaml.safe_load(file.read_text())
    job = relays_job(given)
    job["authorization"]["credentials_file"] = str(folder / "token")
    del job["dns_sd_configs"]
    job["static_configs"] = [{"targets": [f"{one}:8000" for one in project.replicas]}]
    given["global"] = dict.fromkeys(given["global"], "1s")
    file.write_text(yaml.safe_dump(given))
    project.start("prometheus", [program, *told, f"--web.listen-address={at}"], {"PATH": ""})
    until(lambda: counted(at, "count(up == 1)") == len(project.replicas), 60, "a scrape of each")
    alerts = counted(at, "sum(relay_alerts_total)")
    rules = CALLER.get(f"http://{at}/api/v1/rules", timeout=20).json()["data"]["groups"]
    bad = [one["name"] for group in rules for one in group["rules"] if one["health"] == "err"]
    assert not bad, bad
    assert project.stop("prometheus", fenced=False) == 0
    return f"Prometheus sees {len(project.replicas)} replicas, {alerts:.0f} alerts, sound rules"


def counted(at: str, query: str) -> float:
    """The value of a query that has one; 0 while there is none."""
    try:
        answer = CALLER.get(f"http://{at}/api/v1/query", params={"query": query}, timeout=20)
    except httpx.TransportError:
        return 0
    found: list[Any] = answer.json()["data"]["result"] if answer.status_code == 200 else []
    return float(found[0]["value"][1]) if found else 0


def relays_job(given: Any) -> Any:
    """The job that finds the replicas by Docker's name for them."""
    [job] = [
        job
        for job in given["scrape_configs"]
        for one in job.get("dns_sd_configs", [])
        if "app" in one["names"]
    ]
    return job


def heard(project: Project, token: str) -> str:
    """Whoever listens through the proxy hears what any replica took."""
    address = project.url.replace("http:", "ws:") + "/ws/live"
    shown = {"Authorization": f"Bearer {token}"}
    with connect(address, additional_headers=shown, open_timeout=60) as live:
        assert json.loads(live.recv(60))["type"] == "hello"
        number = len(project.replicas)
        assert {post(project, 1000 + each) for each in range(number)} <= TAKEN
        seen: set[str] = set()
        while len(seen) < number:
            message = json.loads(live.recv(60))
            seen |= {
                event["signal_id"]
                for event in message.get("events", [])
                if event["event"] == "signal.received"
            }
    return f"/ws/live through the proxy tells of {len(seen)} alerts, one of each replica"


def backed_up(project: Project) -> str:
    """What the service `backup` of docker-compose.prod.yml does every day."""
    command = files.services("docker-compose.prod.yml")["backup"]["command"][2]
    assert "python run.py backup /backups/" in command
    project.run_app("python", "run.py", "backup", "/data/backups/")
    made = (project.folder / "relay/backups").glob("relay-*.backup.gz")
    project.run_app("python", "run.py", "backup", "--verify", f"/data/backups/{next(made).name}")
    return "a backup beside the running replicas is whole"


def survives(project: Project) -> str:
    """A replica stops in good order, another is killed: alerts are taken all the same."""
    assert project.stop("app-1") == 0
    assert {post(project, 2000 + each) for each in range(4)} <= TAKEN
    project.crash("app-2")
    assert {post(project, 3000 + each) for each in range(4)} <= TAKEN
    until(lambda: project.is_healthy(project.at(2), 8080), what="a healthy proxy")
    assert project.stop("proxy") == 0
    return "one replica stopped, one killed: every alert was taken"
