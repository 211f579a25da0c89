"""A fresh clone gets nothing of this machine but Python and where packages come from."""

import os
import subprocess
from pathlib import Path

import pytest

from bench.fresh import Who, environment, everybody


def test_home_and_caches_are_its_own() -> None:
    ours = {
        "HOME": "/home/me",
        "PIP_CACHE_DIR": "/home/me/.cache/pip",
        "PIP_INDEX_URL": "https://index.example/simple",
        "https_proxy": "http://proxy.example",
        "VIRTUAL_ENV": "/home/me/venv",
        "RELAY_ENVIRONMENT": "system",
        "DATABASE_URL": "postgresql://x",
        "PYTHONPATH": "/home/me",
    }
    given = environment(Who("other", 9, 9, "/usr/bin/python3"), Path("/fresh"), ours)
    assert given.keys() & ours.keys() == {"HOME", "PIP_CACHE_DIR", "PIP_INDEX_URL", "https_proxy"}
    assert given["HOME"] == "/fresh/home"
    assert given["PIP_CACHE_DIR"] == "/fresh/cache/pip"
    assert given["PATH"].startswith("/usr/bin:")


def test_it_is_run_as_who_asks_and_by_root_as_somebody_else_too() -> None:
    try:
        people = everybody()
    except SystemExit as nobody_else:
        pytest.skip(str(nobody_else))
    assert people[0].uid == os.geteuid()
    assert len(people) == (2 if os.geteuid() == 0 else 1)
    script = "import os, sys; print(os.geteuid(), sys.prefix == sys.base_prefix)"
    for who in people:
        said = subprocess.check_output(who.command("-c", script), text=True, cwd="/")
        assert said.split() == [str(who.uid), "True"]
