"""What the documents say is so: settings, words, routes, links, and snippets that are run."""

import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

import pytest
from fastapi.routing import iter_route_contexts
from pydantic_core import PydanticUndefined

from config import Settings
from database.batches import BatchKind
from database.resolutions import Resolution
from domain.access import Scope
from domain.alert import Alert, InvalidCode, read
from domain.attention import Cause, Severity
from domain.breaker import BreakerState
from domain.channel import ChannelKind
from domain.delivery import DeliveryState, Guarantee, Outcome
from domain.destination import DestinationState, Mode
from domain.gate import Reason
from domain.mapping import Preset
from domain.position import PositionState
from domain.rules import Direction
from domain.screen import EXAMPLE_URL, Screen
from domain.signal import Side, SignalStatus
from domain.signature import key_of, sign
from domain.universe import FetchOutcome, Trust
from engines.universe import config_file
from tests.docs.blocks import blocks_of
from web.app import framework
from web.posted import PATH

ROOT = Path(__file__).parents[2]
ENV_EXAMPLE = ROOT / ".env.example"
API = ROOT / "docs" / "api.md"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")], key=str)
UNREAD = "── Not read by this version"
NOT_SETTINGS = {"POSTGRES_PASSWORD", "PUBLISH", "RELAY_DOMAIN", "RELAY_INSIDERS"} | {
    "COMPOSE_PROFILES",
    "COMPOSE_FILE",
}
"""Read by docker-compose.yml, and by Compose itself."""
MADE_ON_FIRST_START = {"webhook_token", "finviz_update_token", "admin_token", "encryption_key"} | {
    "dest_webhook_signing_secret"
}
SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
PLACES = (
    r"/(?:opt|etc|var/lib|home/you)/trading-signal-processor(?![\w-])[\w./-]*"
    r"|/etc/(?:systemd/system|caddy|nginx)/[\w./-]*|/usr/sbin/nologin|/run/secrets/\w+|/dev/\w+"
)
"""Standard ones of a server, by the name of this program; everybody has the same."""
LINK = re.compile(r"\]\(([^)\s]+)\)")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def assignments(text: str) -> dict[str, str]:
    """Every `#NAME=value` line; explanations have a blank after the number sign."""
    return dict(re.findall(r"^#([A-Z][A-Z0-9_]*)=(.*)$", text, re.MULTILINE))


def blocks(path: Path, language: str) -> list[str]:
    return [block.code for block in blocks_of(path) if block.language == language]


# ── Settings ────────────────────────────────────────────────────────────────────────────────


def example() -> tuple[dict[str, str], dict[str, str]]:
    """What .env.example shows as read, and as not read yet."""
    read_now, marker, later = ENV_EXAMPLE.read_text().partition(UNREAD)
    assert marker
    return assignments(read_now), assignments(later)


def test_every_setting_is_in_the_example_and_nothing_else() -> None:
    shown, later = example()
    fields = {name.upper() for name in Settings.model_fields}
    assert shown.keys() - NOT_SETTINGS == fields
    assert not later.keys() & fields


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_the_example_shows_the_default(name: str) -> None:
    default: Any = Settings.model_fields[name].default
    text = example()[0][name.upper()]
    if default is PydanticUndefined:
        assert name in MADE_ON_FIRST_START
        assert not text
    elif default is None or default == ():
        assert not text
    elif isinstance(default, bool):
        assert text == str(default).lower()
    elif isinstance(default, int | float):
        assert float(text) == default
    else:
        assert text == str(default)


def test_the_example_as_a_whole_changes_nothing() -> None:
    lines = ENV_EXAMPLE.read_text().splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == []


def test_the_example_explains_before_it_shows() -> None:
    lines = ENV_EXAMPLE.read_text().splitlines()
    for before, line in itertools.pairwise(lines):
        if re.match(r"#[A-Z]", line):
            assert before.startswith("#"), line


# ── Words ───────────────────────────────────────────────────────────────────────────────────

ENUMS: tuple[type[StrEnum], ...] = (
    Side,
    SignalStatus,
    DeliveryState,
    Outcome,
    PositionState,
    DestinationState,
    Mode,
    Guarantee,
    Preset,
    BreakerState,
    Resolution,
    Trust,
    FetchOutcome,
    Reason,
    InvalidCode,
    Scope,
    Direction,
    BatchKind,
    Severity,
    Cause,
    ChannelKind,
)


@pytest.mark.parametrize(
    "word", [(kind.__name__, member.value) for kind in ENUMS for member in kind], ids="-".join
)
def test_every_word_stands_in_the_glossary(word: tuple[str, str]) -> None:
    assert f"`{word[1]}`" in (ROOT / "docs" / "glossary.md").read_text()


def test_every_fetch_outcome_is_explained() -> None:
    text = (ROOT / "docs" / "finviz.md").read_text()
    assert [word for word in FetchOutcome if f"| `{word}` |" not in text] == []


def test_every_audit_event_stands_in_the_glossary() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text()
    known = set(re.findall(r"`([a-z_]+\.[a-z_]+)`", text))
    nouns = (
        "signal|delivery|position|screen|destination|universe|session|source|token|buying|batch"
        "|sell_list|rules|attention|channel|config"
    )
    statements = "".join(path.read_text() for path in (ROOT / "database").glob("*.py"))
    written = set(re.findall(rf"'((?:{nouns})\.[a-z_]*[a-z])'", statements))
    assert written
    assert written <= known
    assert {f"signal.{status}" for status in SignalStatus} <= known
    assert {f"position.{state}" for state in PositionState} <= known
    assert {f"destination.breaker_{state}" for state in BreakerState} <= known


# ── Routes ──────────────────────────────────────────────────────────────────────────────────


def routes() -> list[str]:
    """Every method and path that the application answers; mounted folders and HEAD left out."""
    found = [
        f"{method} {route.path}"
        for route in iter_route_contexts(framework("0").routes)
        for method in sorted(route.methods or ())
        if method != "HEAD"
    ]
    return [*found, f"POST {PATH}", f"POST {PATH}/{{token}}"]


def test_every_route_is_described() -> None:
    text = API.read_text()
    wanted = routes()
    assert "GET /health/ready" in wanted
    assert [route for route in wanted if f"`{route}`" not in text] == []


def test_no_route_is_described_that_is_not_there() -> None:
    described = re.findall(r"`((?:GET|POST|PUT|PATCH|DELETE) /[^`]*)`", API.read_text())
    there = {*routes(), "GET /static/…"}
    assert described
    assert [route for route in described if route not in there] == []


# ── Links and addresses ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_relative_links_lead_somewhere(path: Path) -> None:
    targets = [target for target in LINK.findall(path.read_text()) if "://" not in target]
    missing = [t for t in targets if not (path.parent / t.partition("#")[0]).exists()]
    assert missing == []


@pytest.mark.parametrize("path", [*DOCUMENTS, ENV_EXAMPLE], ids=named)
def test_no_path_of_somebodys_machine(path: Path) -> None:
    """An absolute path in a document is one of ours over HTTP, or one of another server's, or
    where a server has this program and what starts it.
    """
    http = {"webhook", "admin", "api", "finviz", "health", "status", "metrics", "openapi.json"}
    allowed = http | {"static", "sell", "screener", "screener.ashx", "ws", "docs"}
    text = re.sub(PLACES, "", path.read_text())
    firsts = re.findall(r"(?<![\w.:/<>})\]$…-])/([a-z][\w.-]*)", text)
    assert [first for first in firsts if first not in allowed] == []


@pytest.mark.parametrize("path", [*DOCUMENTS, ENV_EXAMPLE], ids=named)
def test_documents_are_text_for_people(path: Path) -> None:
    text = path.read_text()
    assert text.endswith("\n")
    assert [line for line in text.splitlines() if line != line.rstrip()] == []
    assert not re.search(r"\b(?:TODO|FIXME|TBD|XXX)\b", text)


# ── Snippets ────────────────────────────────────────────────────────────────────────────────


def signed(body: bytes, at: int = 1_900_000_000) -> dict[str, str]:
    id = "01a1fc1f-537e-78ef-a699-c5d9b4210879"
    return {
        "webhook-id": id,
        "webhook-timestamp": str(at),
        "webhook-signature": sign(key_of(SECRET), id=id, timestamp=at, body=body),
    }


def cases() -> dict[str, tuple[Mapping[str, str], bytes, int, bool]]:
    """Headers, body, the receiver's clock, and whether it must be accepted."""
    body = '{"ticker":"BRK-B","n":"ä"}'.encode()
    good, at = signed(body), 1_900_000_000
    other = {**good, "webhook-id": "01a1fc1f-537e-78ef-a699-c5d9b4210870"}
    rotated = {**good, "webhook-signature": f"v1,AAAA {good['webhook-signature']}"}
    return {
        "good": (good, body, at + 10, True),
        "second of two signatures": (rotated, body, at, True),
        "another body": (good, body + b" ", at, False),
        "another id": (other, body, at, False),
        "too old": (good, body, at + 301, False),
        "from the future": (good, body, at - 301, False),
        "no signature": ({**good, "webhook-signature": ""}, body, at, False),
        "no headers": ({}, body, at, False),
        "no number": ({**good, "webhook-timestamp": "now"}, body, at, False),
    }


@pytest.mark.parametrize("case", cases())
def test_the_python_snippet_verifies_our_signatures(case: str) -> None:
    (snippet,) = blocks(ROOT / "docs" / "signatures.md", "python")
    space: dict[str, object] = {}
    exec(compile(snippet, "signatures.md", "exec"), space)  # the snippet is what is tested
    verify = cast("Callable[..., bool]", space["verify"])
    headers, body, now, accepted = cases()[case]
    assert verify(SECRET, headers, body, now) is accepted


def test_the_javascript_snippet_verifies_our_signatures(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node here: the JavaScript snippet of docs/signatures.md is not run")
    (snippet,) = blocks(ROOT / "docs" / "signatures.md", "javascript")
    (tmp_path / "verify.js").write_text(snippet)
    given = [[dict(headers), body.decode(), now] for headers, body, now, _ in cases().values()]
    script = (
        "const { verify } = require('./verify.js');"
        f"const cases = {json.dumps(given)};"
        f"const answers = cases.map(([h, b, now]) => verify('{SECRET}', h, Buffer.from(b), now));"
        "console.log(JSON.stringify(answers));"
    )
    done = subprocess.run(
        [node, "-e", script], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(done.stdout) == [accepted for _, _, _, accepted in cases().values()]


FILLED = {
    "ticker": "BRK.B",
    "exchange": "NYSE_DLY",
    "strategy.order.action": "buy",
    "strategy.market_position": "long",
    "strategy.order.price": "471.20",
    "close": "471.20",
    "timenow": "2026-11-20T15:04:05Z",
}


def test_the_messages_of_the_readme_are_read_as_meant() -> None:
    messages = [block for block in blocks(ROOT / "README.md", "json") if "{{" in block]
    assert len(messages) == 2
    for message in messages:
        alert = read(re.sub(r"\{\{(.+?)\}\}", lambda found: FILLED[found[1]], message).encode())
        assert isinstance(alert, Alert)
        assert (alert.ticker, alert.side, alert.exchange) == ("BRK-B", Side.BUY, "NYSE")
        assert (alert.price_text, alert.sent_at is not None) == ("471.20", True)


def test_the_example_configuration_is_read(tmp_path: Path) -> None:
    page = ROOT / "docs" / "screens.md"
    (given,) = [block for block in blocks(page, "json") if "finviz.com" in block]
    file = tmp_path / "finviz_config.json"
    file.write_text(given)
    other = Screen(url=EXAMPLE_URL, top_n=1, refresh=timedelta(seconds=1))
    screen = config_file.read(file, other)
    assert (screen.top_n, screen.refresh.total_seconds()) == (15, 180)
    assert "o=-change" in screen.url


@pytest.mark.parametrize("path", [p for p in DOCUMENTS if blocks(p, "json")], ids=named)
def test_json_in_documents_is_json(path: Path) -> None:
    for block in blocks(path, "json"):
        json.loads(block)


def test_alerts_in_curl_examples_are_read() -> None:
    text = "".join(path.read_text() for path in DOCUMENTS)
    commands = [one for one in re.split(r"\bcurl\b", text)[1:] if "/webhook/in" in one[:400]]
    posted = [re.search(r"-d '(\{[^']*\})'", one[:400]) for one in commands]
    bodies = [one[1] for one in posted if one and "ticker" in one[1]]
    assert len(bodies) >= 2
    assert all(isinstance(read(body.encode()), Alert) for body in bodies)
