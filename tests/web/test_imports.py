"""Files that are not as they should be, what becomes of each, and how far an import is."""

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from domain.body import MASK
from tests.web.stage import ADMIN_TOKEN, UPDATE_TOKEN, Relay, call, cloned, http_scope, relay
from tests.web.transfer import exported, imported, lines, seed

pytestmark = pytest.mark.asyncio(loop_scope="module")

ORIGINAL = (
    "timestamp,signal_id,ticker,signal_type,status,location,worker_id,details,http_code\n"
    "2025-07-20T14:30:05,7d4f0c9e-5a3b-4c7e-9a53-3f0d7a6b1c22,AAPL,buy,forwarded_success,"
    "COMPLETED,-,-,\n"
    "2025-07-20T14:31:05,7d4f0c9e-5a3b-4c7e-9a53-3f0d7a6b1c23,MSFT,sell,rejected,DISCARDED,-,-,\n"
    "2025-07-20T14:32:05,7d4f0c9e-5a3b-4c7e-9a53-3f0d7a6b1c24,MSFT,hold,rejected,DISCARDED,-,-,\n"
    "yesterday,7d4f0c9e-5a3b-4c7e-9a53-3f0d7a6b1c25,MSFT,sell,rejected,DISCARDED,-,-,\n"
)
AT = "2026-11-21T15:04:05+00:00"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared(template: str) -> AsyncGenerator[Relay]:
    """Keeps for long what is older than it keeps by default: retention begins at once."""
    async with cloned(template) as url, relay(url, wait=False, retention_days=3_650) as one:
        yield one


def a_signal(number: int, **given: object) -> dict[str, Any]:
    return {
        "id": f"01a1fc1f-537e-78ef-a699-{number:012}",
        "source": "webhook",
        "ticker": "AAPL",
        "side": "buy",
        "partial": False,
        "clock_skew": False,
        "hop": 0,
        "content_type": "application/json",
        "received_at": AT,
        "expires_at": AT,
        "status": "approved",
        "judged_at": AT,
        "body": "{}",
        "events": [{"at": AT, "event": "signal.received"}],
        **given,
    }


async def take(relay: Relay, folder: Path, content: str | bytes, query: str = "") -> list[Any]:
    source, told = folder / "file", folder / "told"
    source.write_bytes(content if isinstance(content, bytes) else content.encode())
    transfer = await imported(relay, source, told, query)
    assert transfer.status == 200, told.read_text()
    return lines(told)


def as_lines(*signals: dict[str, Any]) -> str:
    return "".join(json.dumps(one) + "\n" for one in signals)


async def test_the_originals_csv_is_mapped_and_what_cannot_be_is_reported(
    shared: Relay, tmp_path: Path
) -> None:
    *_, last = await take(shared, tmp_path, ORIGINAL)
    assert (last["read"], last["imported"], last["refused"], last["state"]) == (4, 2, 2, "done")
    assert last["problems"] == [
        {"line": 4, "problem": "signal_type: is not known"},
        {"line": 5, "problem": "timestamp: is not a time"},
    ]
    found = await shared.read("/api/signals/7d4f0c9e-5a3b-4c7e-9a53-3f0d7a6b1c22")
    assert (found["status"], found["ticker"], found["side"]) == ("approved", "AAPL", "buy")
    assert [event["event"] for event in found["events"]] == ["signal.received", "signal.approved"]
    again = (await take(shared, tmp_path, ORIGINAL))[-1]
    assert (again["imported"], again["skipped"], again["refused"]) == (0, 2, 2)


async def test_nothing_imported_is_judged_sent_or_held(shared: Relay, tmp_path: Path) -> None:
    waiting = a_signal(1, status="received", judged_at=None, expires_at="2099-01-01T00:00:00Z")
    (*_, last) = await take(shared, tmp_path, as_lines(waiting, a_signal(2, ticker="ZZZ")))
    assert last["imported"] == 2
    found = await shared.read(f"/api/signals/{waiting['id']}")
    assert (found["status"], found["reason"]) == ("expired", "expired")
    assert [event["event"] for event in found["events"]] == ["signal.received", "signal.expired"]
    assert await shared.rows(
        "SELECT (SELECT count(*) FROM deliveries), (SELECT count(*) FROM positions)"
    ) == [(0, 0)]


async def test_secrets_stay_here_and_masked_bodies_stay_masked(
    shared: Relay, tmp_path: Path
) -> None:
    secret = a_signal(3, body='{"password": "a secret", "n": 1}')
    await take(shared, tmp_path, as_lines(secret))
    query = "&since=2026-11-21T15:04:05Z&until=2026-11-21T15:04:06Z&status=approved"
    for format in ("jsonl", "csv"):
        out = tmp_path / format
        await exported(shared, out, format, query)
        assert "a secret" not in out.read_text()
    (found,) = [one for one in lines(tmp_path / "jsonl") if one["id"] == secret["id"]]
    assert (found["body"], found["body_masked"]) == (f'{{"password": "{MASK}", "n": 1}}', True)
    (kept,) = await shared.rows(
        "SELECT body_sealed, imported_from FROM signals WHERE id = :id", id=secret["id"]
    )
    assert kept == (True, "export")


async def test_a_dry_run_says_the_same_and_keeps_nothing(shared: Relay, tmp_path: Path) -> None:
    content = as_lines(a_signal(10), a_signal(11), a_signal(11), a_signal(12, hop="x"))
    tried = (await take(shared, tmp_path, content, "dry_run=true"))[-1]
    assert await shared.rows("SELECT id FROM signals WHERE id = :id", id=a_signal(10)["id"]) == []
    done = (await take(shared, tmp_path, content))[-1]
    same = ("read", "imported", "skipped", "refused", "problems", "state")
    assert [tried[name] for name in same] == [done[name] for name in same]
    assert (done["imported"], done["skipped"], done["refused"]) == (2, 1, 1)
    assert (tried["dry_run"], done["dry_run"]) == (True, False)


async def test_what_the_database_refuses_is_one_row_not_the_batch(
    shared: Relay, tmp_path: Path
) -> None:
    extreme = a_signal(21, received_at="0002-01-01T00:00:00+00:00", price="1e300")
    events = [{"at": AT, "event": "signal.received", "detail": {"n": 0}}]
    huge = a_signal(22, events=events)
    line = json.dumps(huge).replace('{"n": 0}', '{"n": 1e999999}')
    content = as_lines(a_signal(20), extreme) + line + "\n" + as_lines(a_signal(23))
    last = (await take(shared, tmp_path, content))[-1]
    assert (last["read"], last["imported"], last["refused"]) == (4, 3, 1)
    assert last["problems"] == [{"line": 3, "problem": "the database refuses it"}]


async def test_only_the_first_problems_are_listed_but_all_are_counted(
    shared: Relay, tmp_path: Path
) -> None:
    last = (await take(shared, tmp_path, "{}\n" * 30))[-1]
    assert (last["refused"], len(last["problems"])) == (30, 20)
    assert last["problems"][0] == {"line": 1, "problem": "id: is missing"}


async def test_a_quote_that_is_never_closed_ends_it_and_says_so(
    shared: Relay, tmp_path: Path
) -> None:
    content = ORIGINAL.replace("7d4f0c9e", "7d4f0c9f")
    last = (await take(shared, tmp_path, content + '"'))[-1]
    assert (last["state"], last["failure"]) == ("failed", "line 6: a quote is not closed")
    job = await shared.read(f"/api/jobs/{(await take(shared, tmp_path, content))[0]['job']}")
    assert job["state"] == "done"


@pytest.mark.parametrize(
    ("content", "query"),
    [("", ""), ("a,b\n1,2\n", ""), (b"\xff\xfe\n", ""), ("{}\n", "format=csv"), ("x" * 9, "")],
)
async def test_what_is_no_export_is_refused(
    shared: Relay, tmp_path: Path, content: str | bytes, query: str
) -> None:
    source, told = tmp_path / "file", tmp_path / "told"
    source.write_bytes(content if isinstance(content, bytes) else content.encode())
    transfer = await imported(shared, source, told, query)
    assert transfer.status == 400
    assert json.loads(told.read_text())["code"] == "invalid_field"


async def test_progress_is_told_and_seen_by_others(shared: Relay, tmp_path: Path) -> None:
    content = as_lines(*(a_signal(1_000 + n, body="x" * 500) for n in range(3_000)))
    first, *between, last = await take(shared, tmp_path, content)
    assert len(between) >= 2
    reads = [one["read"] for one in between]
    assert reads == sorted(reads)
    assert last["bytes"] == last["total_bytes"] == len(content)
    job = await shared.read(f"/api/jobs/{first['job']}")
    assert (job["kind"], job["state"], job["stalled"]) == ("import_signals", "done", False)
    assert (job["done"], job["total"], job["result"]["imported"]) == (
        len(content),
        len(content),
        3_000,
    )
    (told,) = await shared.rows(
        "SELECT actor, detail ->> 'imported' FROM events WHERE event = 'signals.imported'"
        " AND detail ->> 'job_id' = :id",
        id=first["job"],
    )
    assert told == (job["made_by"], "3000")


async def test_a_sender_who_goes_away_leaves_what_was_stored(shared: Relay) -> None:
    content = as_lines(*(a_signal(9_000 + n) for n in range(700))).encode()
    headers = [
        (b"authorization", f"Bearer {ADMIN_TOKEN}".encode()),
        (b"content-length", str(2 * len(content)).encode()),
    ]
    gone: list[dict[str, Any]] = [{"type": "http.request", "body": content, "more_body": True}]
    answer = bytearray()

    async def receive() -> dict[str, Any]:
        return gone.pop(0) if gone else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        answer.extend(message.get("body", b""))

    scope = http_scope("POST", "/api/signals/import", headers)
    await shared.app(scope, receive, send)
    last = json.loads(bytes(answer).splitlines()[-1])
    assert (last["state"], last["failure"]) == ("failed", "the sender went away")
    assert last["imported"] == 500


async def test_auth_comes_before_the_first_byte_and_the_limit_is_lifted_here_only(
    shared: Relay,
) -> None:
    large = [b"{" + b" " * 65_535, b"}"]
    for token, path, status in (
        (UPDATE_TOKEN, "/api/signals/import", 401),
        (ADMIN_TOKEN, "/api/screens/import", 413),
        (ADMIN_TOKEN, "/api/signals/import", 200),
        (ADMIN_TOKEN, "/api/config/import", 400),
    ):
        headers = [
            (b"authorization", f"Bearer {token}".encode()),
            (b"content-type", b"application/json"),
        ]
        answer = await call(shared.app, "POST", path, headers, list(large))
        assert answer.status == status, path


async def test_filters_choose_what_is_exported(shared: Relay, tmp_path: Path) -> None:
    await seed(shared, 40, b"nobody's")
    out = tmp_path / "out"
    total = await exported(shared, out, "jsonl", "&until=2026-01-03T00:00:00Z&source=webhook")
    found = lines(out)
    assert total.headers["x-total-count"] == str(len(found))
    assert {one["source"] for one in found} == {"webhook"}
    assert "attachment; filename=" in total.headers["content-disposition"]
    sealed = [one for one in found if one["body_masked"]]
    assert {one["body"] for one in sealed} == {"(sealed with another ENCRYPTION_KEY)"}
    await exported(shared, out, "csv", "&ticker=NONE")
    assert len(out.read_text().splitlines()) == 1
