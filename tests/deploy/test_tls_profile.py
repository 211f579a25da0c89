"""The profile `tls` with an authority of our own: a certificate got by itself, on 80 and 443."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from launcher.environment import ROOT
from tests.deploy import containers, files
from tests.end_to_end.edge import PLACES

CADDY = shutil.which("caddy", path=PLACES)
NAMES = "127.0.0.1 localhost relay.example.com ca.test proxy\n"
AUTHORITY = """\
	admin off
	storage file_system /authority/data
	acme_ca https://ca.test:14000/acme/local/directory
	acme_ca_root /authority/ca/pki/authorities/local/root.crt
"""
"""Another authority than Let's Encrypt, and nothing else."""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    if not CADDY:
        pytest.skip("no caddy on this machine")
    if why := containers.forbidden():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("acme")
    service = files.services()["tls"]
    here, there, _ = next(one for one in service["volumes"] if one[0] == ".").split(":")
    text = (ROOT / here).read_text()
    assert text.count("\tadmin off\n") == 1
    (folder / "Caddyfile").write_text(text.replace("\tadmin off\n", AUTHORITY))
    (folder / "hosts").write_text(NAMES)
    given = {"RELAY_DOMAIN": "relay.example.com", "RELAY_INSIDERS": "127.0.0.3/32 10.8.0.0/24"}
    done = subprocess.run(
        [
            *containers.root(
                {
                    "/etc/hosts": folder / "hosts",
                    there: folder / "Caddyfile",
                    "/authority": folder,
                    str(ROOT): ROOT,
                    sys.prefix: Path(sys.prefix),
                },
                user="0",
                writable=["/authority"],
            ),
            "--unshare-net",
            *(word for one in service["cap_add"] for word in ("--cap-add", f"CAP_{one}")),
            *("--chdir", str(ROOT), sys.executable, "-m", "tests.deploy.acme", "/authority"),
            *service["command"],
        ],
        env={"HOME": "/authority", "PATH": PLACES, **files.environment(service, given)},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert not done.returncode, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_a_certificate_is_got_and_the_webhook_is_for_everybody(seen: dict[str, Any]) -> None:
    """Over https with the authority's word for the name, else nothing had been asked."""
    assert seen["answers"]["alert"][0] == 202
    assert seen["answers"]["not an alert"][0] == 403


def test_pages_are_for_insiders_alone(seen: dict[str, Any]) -> None:
    assert seen["answers"]["outside"][0] == 403
    assert seen["answers"]["inside"][0] == 200
    assert [one["path"] for one in seen["seen"]] == ["/admin", "/webhook/in/token"]


def test_who_called_is_what_caddy_saw_and_not_what_was_claimed(seen: dict[str, Any]) -> None:
    callers = {one["path"]: one["headers"]["x-forwarded-for"] for one in seen["seen"]}
    assert callers == {"/admin": "127.0.0.3", "/webhook/in/token": "127.0.0.4"}
    for one in seen["seen"]:
        assert one["headers"]["x-forwarded-proto"] == "https"
        assert one["headers"]["host"] == "relay.example.com"
        assert not one["headers"].keys() & {"forwarded", "x-real-ip", "x-forwarded-host"}


def test_in_the_clear_a_page_is_sent_to_https_and_an_alert_is_refused(seen: dict[str, Any]) -> None:
    status, to, _ = seen["answers"]["page in the clear"]
    assert (status, to) == (308, "https://relay.example.com/admin")
    status, to, body = seen["answers"]["alert in the clear"]
    assert (status, to, json.loads(body)["code"]) == (403, "", "https_only")
