"""The doctor and the list source: what it says and saves, and that no secret is in either."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from aiolimiter import AsyncLimiter

from config import Settings
from demo.finviz import MadeUpFinviz, Reply, made_up_market, render_page
from engines.universe.finviz_export import read_export
from engines.universe.finviz_page import read_page
from launcher.doctor import findings
from launcher.doctor.whole import Asked, examine
from launcher.terminal import say
from tests.engines.filtering import FilteringFinviz

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "5e3cre7-t0ken/with+signs"  # a made-up one
ELITE: dict[str, object] = {"finviz_use_elite": True, "finviz_auth_token": TOKEN}
MARKET = made_up_market(7, 45)

Doctor = Callable[..., int]


@pytest.fixture
def finviz() -> MadeUpFinviz:
    return FilteringFinviz(MARKET, token=TOKEN)


@pytest.fixture
def doctor(
    finviz: MadeUpFinviz, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Generator[Doctor]:
    """A doctor in an empty folder, who asks the made-up Finviz as fast as he can."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)

    usual: dict[str, Any] = {"finviz_base_url": "http://finviz.test"}

    def run(save: Path | None = None, *, force: bool = False, **given: Any) -> int:
        asked = Asked(
            save,
            force=force,
            transport=httpx.ASGITransport(finviz),
            spacing=lambda: AsyncLimiter(1, 0.001),
        )
        found = examine(asked, lambda _: None, usual | given)
        of_list = [one for one in found if (one.area, one.name) == ("list source", "Finviz")]
        for one in of_list:
            say("\n".join((*one.more, one.words)))
        return 1 if findings.fails(of_list) else 0

    yield run
    assert {path.name for path in tmp_path.iterdir()} <= {"pages", "finviz_config.json"}


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


# ── What it says ────────────────────────────────────────────────────────────────────────────


def test_a_finviz_as_it_should_be(doctor: Doctor, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(**ELITE) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[:6]] == [
        ["results", "ok"],
        ["second_page", "ok"],
        ["past_end", "past_end"],
        ["empty", "empty"],
        ["ticker_view", "ok"],
        ["export", "ok"],
    ]
    assert "20 of 45 rows, table and the page's own list agree" in lines[0]
    assert "20 of 45 rows from row 21" in lines[1]
    assert "expected" not in "".join(lines)
    assert lines[-1] == "Finviz answers as this version knows it."


def test_another_layout_is_named(
    doctor: Doctor, finviz: MadeUpFinviz, capsys: pytest.CaptureFixture[str]
) -> None:
    finviz.answer_with("half_the_rows")
    assert doctor() == 1
    said = capsys.readouterr().out
    assert "(expected: ok from row 1 or empty)" in said.splitlines()[0]
    assert "Not what this version knows: results, second_page" in said
    assert "not asked    export" in said


def test_a_refusal_says_nothing_of_the_layout(
    doctor: Doctor, finviz: MadeUpFinviz, capsys: pytest.CaptureFixture[str]
) -> None:
    finviz.answer_with("throttled")
    assert doctor() == 1
    said = capsys.readouterr().out
    assert len(finviz.arrivals) == 1
    assert "results      throttled    Finviz says: too many requests" in said
    assert "not asked    second_page, past_end, empty, ticker_view, export" in said
    assert "nothing can be said of its pages" in said


def test_the_screen_is_that_of_the_first_start(doctor: Doctor, finviz: MadeUpFinviz) -> None:
    doctor(finviz_url="https://finviz.com/screener.ashx?v=111&f=cap_small")
    assert finviz.arrivals[0].query == "v=111&f=cap_small"
    Path("finviz_config.json").write_text(
        json.dumps({"url": "https://finviz.com/screener.ashx?v=111&f=cap_large"})
    )
    finviz.arrivals.clear()
    doctor(finviz_url="https://finviz.com/screener.ashx?v=111&f=cap_small")
    assert finviz.arrivals[0].query == "v=111&f=cap_large"


def test_a_screen_that_is_none_is_not_asked_for(
    doctor: Doctor, finviz: MadeUpFinviz, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor(finviz_url="https://example.com/screener.ashx") == 0  # fails among the settings
    assert "see settings" in capsys.readouterr().out
    assert not finviz.arrivals


# ── What it saves ───────────────────────────────────────────────────────────────────────────


def test_answers_are_saved_as_they_came(doctor: Doctor, tmp_path: Path) -> None:
    pages = tmp_path / "pages"
    assert doctor(pages, **ELITE) == 0
    assert pages.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in pages.iterdir()} == {0o600}
    names = ["results", "second_page", "past_end", "empty", "ticker_view"]
    files = {"export.csv", "export.json", "summary.json"}
    assert {path.name for path in pages.iterdir()} == files.union(
        *({f"{name}.html", f"{name}.json"} for name in names)
    )
    assert (pages / "results.html").read_text() == render_page(MARKET)
    assert read_page((pages / "second_page.html").read_bytes()).start == 21
    assert read_export((pages / "export.csv").read_bytes()).total == 45


def test_each_answer_is_described(doctor: Doctor, tmp_path: Path) -> None:
    pages = tmp_path / "pages"
    doctor(pages, **ELITE)
    page, about = (pages / "second_page.html").read_bytes(), read(pages / "second_page.json")
    expected = {
        "name": "second_page",
        "as_expected": True,
        "status": 200,
        "kind": "ok",
        "total": 45,
        "rows": 20,
        "first": MARKET[20].ticker,
        "last": MARKET[39].ticker,
        "start": 21,
        "step": 20,
        "witness": "table and the page's own list agree",
        "file": "second_page.html",
        "bytes": len(page),
        "sha256": hashlib.sha256(page).hexdigest(),
        "headers": {"content-type": "text/html"},
    }
    assert {name: about[name] for name in expected} == expected
    assert about["asked"].endswith("&r=21")
    summary = read(pages / "summary.json")
    assert summary["verdict"] == "Finviz answers as this version knows it."
    assert summary["answers"]["past_end"]["kind"] == "past_end"
    assert summary["not_asked"] == []


def test_an_earlier_run_is_replaced_only_when_forced(
    doctor: Doctor, finviz: MadeUpFinviz, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pages = tmp_path / "pages"
    doctor(pages, **ELITE)
    (pages / "note.txt").write_text("the operator's own")
    before = {path.name: path.read_bytes() for path in pages.iterdir()}
    finviz.answer_with("throttled")
    with pytest.raises(SystemExit) as refused:
        doctor(pages)
    assert refused.value.code == 2
    assert "--force" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in pages.iterdir()} == before
    assert doctor(pages, force=True) == 1
    left = {path.name for path in pages.iterdir()}
    assert left == {"results.html", "results.json", "summary.json", "note.txt"}
    assert (pages / "results.html").read_bytes() == b"Too many requests."


def test_an_empty_folder_is_taken_and_a_file_is_not(doctor: Doctor, tmp_path: Path) -> None:
    pages = tmp_path / "pages"
    pages.mkdir()
    assert doctor(pages) == 0
    with pytest.raises(SystemExit) as refused:
        doctor(pages / "summary.json")
    assert refused.value.code == 2


def test_no_answer_is_described_without_a_file(
    doctor: Doctor, finviz: MadeUpFinviz, tmp_path: Path
) -> None:
    pages = tmp_path / "pages"
    finviz.answer_with(Reply(302, b"", {"location": "https://elsewhere.test/"}))
    assert doctor(pages) == 1
    about = read(pages / "results.json")
    assert (about["status"], about["kind"]) == (None, "wrong_page")
    assert "file" not in about
    assert not (pages / "results.html").exists()


SECRETS = {
    TOKEN: TOKEN,
    "quoted token": "5e3cre7-t0ken%2Fwith%2Bsigns",
    "user token": "0f9a77aa-userTok-en.1",
    "token of this shape": "1c9d0f22-8f5e-4b7e-9a51-0c4df2a1b3e4",
    "e-mail": "jane.doe+relay@mail.example.org",
    "quoted e-mail": "jane.doe%40mail.example.org",
    "address": "203.0.113.77",
    "newer address": "2001:db8:85a3::8a2e:370:7334",
}
TELLING = (
    "<script>var settings = {userToken: '0f9a77aa-userTok-en.1', id:"
    ' "1c9d0f22-8f5e-4b7e-9a51-0c4df2a1b3e4"};</script>'
    '<input name="userToken" value="0f9a77aa-userTok-en.1">'
    "<p data-user='{&quot;userToken&quot;:&quot;0f9a77aa-userTok-en.1&quot;}'>"
    f"Hello jane.doe+relay@mail.example.org, <a href='/export.ashx?v=1&auth={TOKEN}'>export</a>"
    "<a href='/x?mail=jane.doe%40mail.example.org&auth=5e3cre7-t0ken%2Fwith%2Bsigns'>x</a>"
    "Your IP: 203.0.113.77 or 2001:db8:85a3::8a2e:370:7334</p>"
)
HEADERS = {
    "set-cookie": "session=c00kie-of-ours",
    "x-user": "jane.doe+relay@mail.example.org",
    "link": f"</export.ashx?auth={TOKEN}>",
}


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(TELLING, id="no screener"),
        pytest.param(render_page(MARKET).replace("<body>", f"<body>{TELLING}"), id="a list"),
        pytest.param(f"Ticker\r\n{TOKEN}\r\n", id="an export of the token"),
        pytest.param("Ticker\r\njo@mail.example\r\n", id="an export of an address"),
    ],
)
def test_no_secret_is_saved_or_said(
    page: str,
    doctor: Doctor,
    finviz: MadeUpFinviz,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    finviz.answer_with(Reply(200, page.encode(), HEADERS))
    pages = tmp_path / "pages"
    assert doctor(pages, **ELITE) == 1
    captured = capsys.readouterr()
    saved = b"".join(path.read_bytes() for path in pages.iterdir())
    told = (saved.decode(errors="replace") + captured.out + captured.err).lower()
    assert len(list(pages.glob("*.json"))) == 7
    for secret in [*SECRETS.values(), "c00kie", TOKEN[:7], "jo@mail.example"]:
        assert secret.lower() not in told


def test_bytes_that_are_no_text_stay(doctor: Doctor, finviz: MadeUpFinviz, tmp_path: Path) -> None:
    finviz.answer_with(Reply(200, b"\xff\r\n\xc3"))
    doctor(tmp_path / "pages")
    assert (tmp_path / "pages" / "results.html").read_bytes() == b"\xff\r\n\xc3"


def test_what_is_redacted_is_read_as_before(
    doctor: Doctor, finviz: MadeUpFinviz, tmp_path: Path
) -> None:
    page = render_page(MARKET).replace("<body>", f"<body>{TELLING}")
    finviz.answer_with(Reply(200, page.encode(), HEADERS))
    doctor(tmp_path / "pages", **ELITE)
    saved = (tmp_path / "pages" / "results.html").read_bytes()
    assert saved != page.encode()
    assert read_page(saved) == read_page(page.encode())


# ── From the command line ───────────────────────────────────────────────────────────────────


class Throttling(BaseHTTPRequestHandler):
    """Turns everybody away."""

    def do_GET(self) -> None:
        self.send_response(429)
        self.end_headers()
        self.wfile.write(b"Too many requests.")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def elsewhere() -> Generator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Throttling) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_command_asks_and_saves_without_a_database(elsewhere: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "run.py", "doctor", "--save-pages", tmp_path / "pages"],
        check=False,
        cwd=tmp_path,
        env={"RELAY_ENVIRONMENT": "system", "FINVIZ_BASE_URL": elsewhere},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    assert done.returncode == 1
    assert "results      throttled" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["pages"]
    assert read(tmp_path / "pages" / "results.json")["status"] == 429
