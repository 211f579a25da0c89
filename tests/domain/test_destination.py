import string
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.delivery import DestinationId
from domain.destination import (
    DEFAULT_WINDOWS,
    TURNS,
    Destination,
    DestinationError,
    DestinationState,
    SigningKeys,
    Turn,
    checked_concurrency,
    checked_connect_timeout,
    checked_headers,
    checked_name,
    checked_timeout,
    checked_windows,
    default_windows,
    own_hosts,
)
from domain.rate import TRADERSPOST, Window

NOW = datetime(2030, 1, 2, 15, 4, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_the_windows_of_an_address() -> None:
    assert default_windows("https://webhooks.traderspost.io/x") == TRADERSPOST
    assert default_windows("https://TradersPost.io/x") == TRADERSPOST
    assert default_windows("https://nottraderspost.io/x") == DEFAULT_WINDOWS
    assert default_windows("https://traderspost.io.evil.example/x") == DEFAULT_WINDOWS


def test_the_relay_knows_its_own_host() -> None:
    assert own_hosts("https://Relay.Example.com:8443") == {"relay.example.com"}
    assert own_hosts(None) == own_hosts("") == frozenset()


def test_a_destination_does_not_print_its_secrets() -> None:
    destination = Destination(
        id=DestinationId(UUID(int=1)),
        name="main",
        url="https://example.com/s3cret",
        keys=SigningKeys(b"s3cret"),
        windows=(Window(limit=1, seconds=1),),
        version=3,
        headers={"authorization": "s3cret"},
    )
    assert repr(destination) == str(destination) == "Destination('main', version=3)"


# ── Keys ────────────────────────────────────────────────────────────────────────────────────


def test_both_keys_sign_until_the_overlap_ends() -> None:
    keys = SigningKeys(b"old").rotated(b"new", now=NOW, overlap=HOUR)
    assert keys.at(NOW) == (b"new", b"old")
    assert keys.at(NOW + HOUR - timedelta(microseconds=1)) == (b"new", b"old")
    assert keys.at(NOW + HOUR) == (b"new",)


def test_without_an_overlap_the_old_key_is_gone_at_once() -> None:
    keys = SigningKeys(b"old").rotated(b"new", now=NOW, overlap=timedelta(0))
    assert keys == SigningKeys(b"new")
    assert keys.at(NOW) == (b"new",)


def test_a_second_rotation_forgets_the_first_key() -> None:
    keys = (
        SigningKeys(b"a").rotated(b"b", now=NOW, overlap=HOUR).rotated(b"c", now=NOW, overlap=HOUR)
    )
    assert keys.at(NOW) == (b"c", b"b")


@pytest.mark.parametrize("overlap", [timedelta(seconds=-1), timedelta(days=7, seconds=1)])
def test_an_overlap_is_at_most_a_week(overlap: timedelta) -> None:
    with pytest.raises(DestinationError) as refusal:
        SigningKeys(b"old").rotated(b"new", now=NOW, overlap=overlap)
    assert refusal.value.field == "overlap"


# ── States ──────────────────────────────────────────────────────────────────────────────────


def test_every_turn_leads_to_a_state_it_does_not_start_from() -> None:
    assert TURNS.keys() == {*Turn}
    for before, after in TURNS.values():
        assert before
        assert after not in before
    assert {after for _, after in TURNS.values()} == {*DestinationState}


# ── What may be given ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("main", "main"),
        (" paper account ", "paper account"),
        ("a", "a"),
        ("a-b_c.2", "a-b_c.2"),
        ("x" * 64, "x" * 64),
    ],
)
def test_a_name_is_trimmed(given: str, name: str) -> None:
    assert checked_name(given) == name


@pytest.mark.parametrize("name", ["", " ", "Main", "x" * 65, "a/b", "ä", "a\nb", "a\x00", "<b>"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(DestinationError) as refusal:
        checked_name(name)
    assert refusal.value.field == "name"


def test_windows_are_read_and_none_means_no_limit() -> None:
    assert checked_windows("60/60s, 500/3600s") == TRADERSPOST
    assert checked_windows("") == checked_windows("  ") == ()


@pytest.mark.parametrize(
    "text",
    [
        "60",
        "0/60s",
        "60/0s",
        "1/86401s",
        "1/1s,2/1s",
        "x",
        "-1/60s",
        ",",
        ",".join(f"1/{seconds}s" for seconds in range(1, 7)),
    ],
)
def test_other_windows_are_refused(text: str) -> None:
    with pytest.raises(DestinationError) as refusal:
        checked_windows(text)
    assert refusal.value.field == "windows"


def test_bounds_are_in_bounds() -> None:
    assert [checked_concurrency(n) for n in (None, 1, 64)] == [None, 1, 64]
    assert [checked_timeout(s).total_seconds() for s in (0.5, 10)] == [0.5, 10]
    assert [checked_connect_timeout(s).total_seconds() for s in (0.1, 5)] == [0.1, 5]
    for number in (0, 65, -1):
        with pytest.raises(DestinationError, match="concurrency must"):
            checked_concurrency(number)
    for seconds in (0.49, 10.1, float("nan"), float("inf"), -1.0):
        with pytest.raises(DestinationError, match="timeout must"):
            checked_timeout(seconds)
    for seconds in (0.05, 5.1, float("nan")):
        with pytest.raises(DestinationError, match="connect_timeout must"):
            checked_connect_timeout(seconds)


def test_header_names_are_kept_in_lower_case() -> None:
    assert checked_headers({"X-Api-Key": " s3cret ", "Authorization": "Bearer a b"}) == {
        "x-api-key": "s3cret",
        "authorization": "Bearer a b",
    }


@pytest.mark.parametrize(
    "name",
    [
        "Host",
        "content-type",
        "Content-Length",
        "transfer-encoding",
        "connection",
        "webhook-id",
        "Webhook-Signature",
        "relay-hop",
        "Relay-Poss-Resend",
        "idempotency-key",
        "user-agent",
        "accept-encoding",
        "proxy-authorization",
        "te",
        "upgrade",
        "expect",
        "",
        "a b",
        "a:b",
        "a\r\nb",
        "ä",
        "x" * 65,
    ],
)
def test_headers_that_are_ours_or_none_are_refused(name: str) -> None:
    with pytest.raises(DestinationError) as refusal:
        checked_headers({name: "s3cret"})
    assert refusal.value.field == "headers"
    assert "s3cret" not in str(refusal.value)


@pytest.mark.parametrize(
    "value", ["", " ", "s3cret\r\nx: y", "s3cret\n", "s3cret\x00", "s3crét", "s3cret" * 400]
)
def test_header_values_are_one_visible_line(value: str) -> None:
    with pytest.raises(DestinationError) as refusal:
        checked_headers({"x-key": value})
    assert "s3cr" not in str(refusal.value)


def test_headers_are_few_and_each_stands_once() -> None:
    assert len(checked_headers({f"x-{n}": "v" for n in range(20)})) == 20
    with pytest.raises(DestinationError, match="at most 20"):
        checked_headers({f"x-{n}": "v" for n in range(21)})
    with pytest.raises(DestinationError, match="once"):
        checked_headers({"X-Key": "a", "x-key": "b"})


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=12), max_size=3))
def test_an_accepted_header_can_be_sent(given: dict[str, str]) -> None:
    try:
        headers = checked_headers(given)
    except DestinationError:
        return
    for name, value in headers.items():
        assert set(name) <= set(string.ascii_lowercase + string.digits + "!#$%&'*+.^_`|~-")
        assert value.isascii()
        assert value.isprintable()
