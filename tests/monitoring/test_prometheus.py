"""A real Prometheus asks the demo: every rule can be evaluated, every dashboard's query has data.

A long test (`--long`), for Debian's package `prometheus`; elsewhere names and labels are compared
(`test_scrape.py`).
"""

import json
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.end_to_end.stage import UPDATE_TOKEN, Relay, free_port, until
from tests.monitoring.files import CONFIG, RULES, program, queries

EVERY, INTERVAL = "1s", "10s"
"""How often it asks here, and what `$__rate_interval` stands for."""


@contextmanager
def demo(folder: Path) -> Generator[Relay]:
    """`python run.py --demo`, as a user starts it."""
    relay = Relay(folder, {})
    relay.start("--demo", "--speed", "20")
    try:
        yield relay
    finally:
        relay.kill()


@contextmanager
def prometheus(folder: Path, relay: Relay) -> Generator[httpx.Client]:
    """One that has our rules, and our configuration but for address, token, and pace."""
    (folder / "token").write_text(UPDATE_TOKEN)
    config = yaml.safe_load(CONFIG.read_text())
    config["global"] = {"scrape_interval": EVERY, "evaluation_interval": EVERY}
    config["rule_files"] = [str(RULES)]
    job = config["scrape_configs"][0]
    del job["dns_sd_configs"]
    job["authorization"] = {"credentials_file": str(folder / "token")}
    job["static_configs"] = [{"targets": [f"127.0.0.1:{relay.port}"]}]
    (folder / "prometheus.yml").write_text(json.dumps(config))
    port = free_port()
    process = subprocess.Popen(
        [
            program("prometheus"),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=error",
        ]
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            yield client
    finally:
        process.terminate()
        process.wait()


def asked(client: httpx.Client, query: str) -> list[dict[str, Any]]:
    query = query.replace("$__rate_interval", INTERVAL)
    answer = client.get("/api/v1/query", params={"query": query})
    assert answer.status_code != 400, (query, answer.text)
    return answer.raise_for_status().json()["data"]["result"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_query_of_every_dashboard_has_data(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    if not pytestconfig.getoption("--long"):
        pytest.skip("--long: a demo and a Prometheus that run for a minute")
    program("prometheus")
    missing = {f"{panel}: {query}": query for panel, query in queries()}
    with demo(tmp_path / "relay") as relay, prometheus(tmp_path, relay) as client:

        def all_have() -> bool:
            try:
                for panel, query in list(missing.items()):
                    if asked(client, query):
                        del missing[panel]
            except httpx.HTTPError:
                return False  # it is starting
            return not missing

        try:
            until(all_have, 180, "data for every panel")
        except AssertionError:
            pytest.fail(f"no data: {missing}")
        groups = client.get("/api/v1/rules").json()["data"]["groups"]
        health = {r["name"]: (r["health"], r.get("lastError")) for g in groups for r in g["rules"]}
        assert {one for one, _ in health.values()} == {"ok"}, health
        broken = {"RelayDown", "RelayNotReady", "RelayDatabaseDown", "RelayWorkerFailing"}
        firing = {r["name"] for g in groups for r in g["rules"] if r.get("state") == "firing"}
        assert not firing & broken, firing
