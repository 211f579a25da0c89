"""A trace follows a signal: from the sender's header, through the queue, to the destination's."""

import pytest

from domain.trace import attempt_span
from tests.web.stage import ADMIN_TOKEN, WEBHOOK_TOKEN, Relay

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


async def sent(shared: Relay, ticker: str, **headers: str) -> tuple[str, str]:
    """Post a buy; its id, and the header that the destination got."""
    answer = await shared.post({"ticker": ticker, "action": "buy"}, **headers)
    id = (await shared.settled(answer.json()["signal_id"]))["id"]
    (parcel,) = [one for one in shared.destination.parcels if one.id == id]
    return id, parcel.headers["traceparent"]


async def test_the_senders_trace_reaches_the_destination(shared: Relay, listed: str) -> None:
    given = f"00-{TRACE}-{PARENT}-01"
    id, header = await sent(shared, listed, traceparent=given)
    (delivery,) = await shared.rows("SELECT id FROM deliveries WHERE signal_id = :id", id=id)
    assert header == f"00-{TRACE}-{attempt_span(delivery.id, 1).hex()}-01"
    (kept,) = await shared.rows("SELECT traceparent FROM signals WHERE id = :id", id=id)
    assert kept.traceparent == given
    life = await shared.read(f"/api/signals/{id}")
    assert life["trace_id"] == TRACE
    assert "traceparent" not in life
    found = await shared.read(f"/api/signals?trace={TRACE}")
    assert [one["id"] for one in found["items"]] == [id]


async def test_without_one_the_signals_id_is_the_traces(shared: Relay, listed: str) -> None:
    id, header = await sent(shared, listed)
    trace = id.replace("-", "")
    assert header.startswith(f"00-{trace}-")
    (kept,) = await shared.rows("SELECT traceparent FROM signals WHERE id = :id", id=id)
    assert kept.traceparent is None
    assert (await shared.read(f"/api/signals/{id}"))["trace_id"] == trace
    found = await shared.read(f"/api/signals?trace={trace}")
    assert [one["id"] for one in found["items"]] == [id]


@pytest.mark.parametrize("given", ["nonsense", f"00-{'0' * 32}-{PARENT}-01", "\xff" * 9])
async def test_a_header_that_names_none_is_passed_over(
    shared: Relay, listed: str, given: str
) -> None:
    bearer = {"authorization": f"Bearer {WEBHOOK_TOKEN}"}
    headers = [(b"traceparent", given.encode("latin-1"))]
    answer = await shared.http.post(
        "/webhook/in",
        json={"ticker": listed, "action": "buy"},
        headers=[*headers, *((n.encode(), v.encode()) for n, v in bearer.items())],
    )
    assert answer.status_code == 202
    life = await shared.settled(answer.json()["signal_id"])
    assert life["trace_id"] == life["id"].replace("-", "")


async def test_an_unknown_trace_has_no_signals_and_what_is_none_is_refused(shared: Relay) -> None:
    found = await shared.read(f"/api/signals?trace={'ab' * 16}")
    assert found == {"items": [], "next": None}
    assert (await shared.get("/api/signals?trace=nonsense")).status_code in {400, 422}


async def test_the_page_of_a_signal_shows_it(shared: Relay, listed: str) -> None:
    id, _ = await sent(shared, listed, traceparent=f"00-{TRACE[::-1]}-{PARENT}-00")
    await shared.http.post("/admin/login", data={"token": ADMIN_TOKEN})
    page = await shared.http.get(f"/admin/signals/{id}")
    shared.http.cookies.clear()
    assert TRACE[::-1] in page.text
