"""The receivers of docs/integrate.md take what the relay sends, once, and nothing else."""

import shutil
import subprocess
import sys
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from domain.signature import key_of, sign
from engines.clock import utc_now
from tests.docs.blocks import ROOT, blocks_of
from tests.end_to_end.stage import free_port, until

PAGE, SIGNATURES = ROOT / "docs" / "integrate.md", ROOT / "docs" / "signatures.md"
SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
BODY = '{"ticker":"BRK.B","action":"buy","signal_id":"one","n":"ä"}'.encode()


@dataclass(frozen=True, slots=True)
class Receiver:
    """One at work, as a reader would start it."""

    url: str
    printed: Path

    def post(self, body: bytes, headers: Mapping[str, str]) -> int:
        with httpx.Client(trust_env=False, timeout=10) as http:
            return http.post(self.url, content=body, headers=headers).status_code


@pytest.fixture(params=["python", "javascript"])
def receiver(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Receiver]:
    language: str = request.param
    program = sys.executable if language == "python" else shutil.which("node")
    if program is None:
        pytest.skip("no node here: the JavaScript receiver of docs/integrate.md is not run")
    suffix = {"python": "py", "javascript": "js"}[language]
    (verify,) = [one.code for one in blocks_of(SIGNATURES) if one.language == language]
    (server,) = [
        one.code
        for one in blocks_of(PAGE)
        if one.language == language and one.told[1].endswith(Path(__file__).name)
    ]
    (tmp_path / f"verify.{suffix}").write_text(verify)
    (tmp_path / f"receive.{suffix}").write_text(server)
    port, printed = free_port(), tmp_path / "printed"
    with (
        printed.open("wb") as output,
        subprocess.Popen(
            [program, f"receive.{suffix}"],
            cwd=tmp_path,
            env={"PORT": str(port), "SIGNING_SECRET": SECRET},
            stdout=output,
            stderr=output,
        ) as process,
    ):
        one = Receiver(f"http://127.0.0.1:{port}", printed)
        until(lambda: answers(one) or process.poll() is not None, what="a receiver")
        assert process.poll() is None, printed.read_text()
        yield one
        process.kill()


def answers(receiver: Receiver) -> bool:
    try:
        return receiver.post(b"{}", {}) == 401
    except httpx.TransportError:
        return False


def headers(id: str, body: bytes, ago: int = 0) -> dict[str, str]:
    at = int(utc_now().timestamp()) - ago
    return {
        "webhook-id": id,
        "webhook-timestamp": str(at),
        "webhook-signature": sign(key_of(SECRET), id=id, timestamp=at, body=body),
    }


def test_a_receiver_acts_once_and_only_on_ours(receiver: Receiver) -> None:
    assert receiver.post(BODY, headers("one", BODY)) == 204
    assert receiver.post(BODY, headers("one", BODY, 5) | {"relay-poss-resend": "Y"}) == 204
    assert receiver.post(BODY + b" ", headers("two", BODY)) == 401
    assert receiver.post(BODY, headers("two", BODY, ago=400)) == 401
    assert receiver.post(BODY, headers("three", BODY)) == 204
    until(lambda: receiver.printed.read_text().count("\n") >= 2, what="what it acted on")
    assert receiver.printed.read_text() == "buy BRK.B one\n" * 2
