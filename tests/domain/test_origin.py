"""H4: who calls, by every form in which `X-Forwarded-For` may say it; how callers are counted."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.origin import Network, address_of, caller, counted_as, is_everybody

STRANGER, FIRST, SECOND = "198.51.100.7", "10.0.0.1", "10.0.9.2"
PROXIES: tuple[Network, ...] = (ip_network("10.0.0.0/16"), ip_network("fd00::/64"))

# What the headers say; who calls when the peer is a stranger, one proxy, or a second proxy behind
# it that added what it saw. "peer": whoever is connected to us.
FORMS: list[tuple[tuple[str, ...], str]] = [
    ((), "peer"),
    (("",), "peer"),
    ((" ",), "peer"),
    ((",",), "peer"),
    (("203.0.113.9",), "203.0.113.9"),
    (("  203.0.113.9\t",), "203.0.113.9"),
    (("203.0.113.9:49152",), "203.0.113.9"),
    (("203.0.113.9:",), "peer"),
    (("203.0.113.9:port",), "peer"),
    (("203.0.113.9:999999",), "peer"),
    (("6.6.6.6, 203.0.113.9",), "203.0.113.9"),
    (("6.6.6.6,203.0.113.9",), "203.0.113.9"),
    (("6.6.6.6", "203.0.113.9"), "203.0.113.9"),
    (("203.0.113.9", "6.6.6.6"), "6.6.6.6"),
    (("127.0.0.1, 203.0.113.9",), "203.0.113.9"),
    (("10.0.0.1, 203.0.113.9",), "203.0.113.9"),
    (("52.89.214.238, 203.0.113.9",), "203.0.113.9"),
    (("203.0.113.9, 10.0.0.8",), "203.0.113.9"),
    (("203.0.113.9, 10.0.0.8, 10.0.0.9",), "203.0.113.9"),
    (("203.0.113.9, 10.0.0.8:1234, 10.0.0.9:5",), "203.0.113.9"),
    (("6.6.6.6, 10.0.0.8, 203.0.113.9, 10.0.0.9",), "203.0.113.9"),
    (("10.0.0.8",), "10.0.0.8"),
    (("10.0.0.7, 10.0.0.8",), "10.0.0.7"),
    (("2001:db8::9",), "2001:db8::9"),
    (("2001:DB8:0:0:0:0:0:9",), "2001:db8::9"),
    (("[2001:db8::9]",), "2001:db8::9"),
    (("[2001:db8::9]:443",), "2001:db8::9"),
    (("[2001:db8::9",), "peer"),
    (("[2001:db8::9]443",), "peer"),
    (("[203.0.113.9]",), "peer"),
    (("fe80::1%eth0",), "peer"),
    (("203.0.113.9, fd00::5",), "203.0.113.9"),
    (("203.0.113.9, [fd00::5]:80",), "203.0.113.9"),
    (("::ffff:203.0.113.9",), "203.0.113.9"),
    (("203.0.113.9, ::ffff:10.0.0.8",), "203.0.113.9"),
    (("unknown",), "peer"),
    (("_hidden",), "peer"),
    (("203.0.113.9, unknown",), "peer"),
    (("203.0.113.9, unknown, 10.0.0.8",), "10.0.0.8"),
    (("203.0.113.9,",), "peer"),
    (("203.0.113.9, , 10.0.0.8",), "10.0.0.8"),
    (("relay.example",), "peer"),
    (("for=203.0.113.9",), "peer"),
    (('for="[2001:db8::9]"; proto=https',), "peer"),
    (("203.0.113.9;203.0.113.8",), "peer"),
    (("0313.0.113.9",), "peer"),
    (("3405803785",), "peer"),
    (("0xcb.0.113.9",), "peer"),
    (("203.0.113",), "peer"),
    (("203.0.113.9/32",), "peer"),
    (("<script>",), "peer"),
    (("203.0.113.9\r\nX: y",), "peer"),
    (("²03.0.113.9",), "peer"),
    (("6.6.6.6, " * 3_000 + "203.0.113.9",), "203.0.113.9"),
]


@pytest.mark.parametrize(("values", "expected"), FORMS)
def test_the_right_most_hop_that_is_no_proxy_counts(values: tuple[str, ...], expected: str) -> None:
    assert len(FORMS) >= 40
    assert caller(STRANGER, values, PROXIES) == STRANGER, "directly, nobody is believed"
    assert caller(STRANGER, values, ()) == STRANGER
    assert caller(FIRST, values, PROXIES) == (FIRST if expected == "peer" else expected)
    # The outer proxy appends whom it saw, and so does the inner one the outer.
    behind = (*values, f"{STRANGER}, {FIRST}")
    assert caller(SECOND, behind, PROXIES) == STRANGER, "nothing left of it is believed"


@given(st.lists(st.text(st.characters(codec="latin-1")), max_size=4))
def test_a_caller_is_an_address_whatever_is_said(values: list[str]) -> None:
    assert address_of(caller(FIRST, values, PROXIES))
    assert caller("::ffff:10.0.0.1", [*values, STRANGER], PROXIES) == STRANGER


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("unknown", "unknown", True),
    ],
)
def test_a_customer_is_counted_as_one(one: str, other: str, *, same: bool) -> None:
    assert (counted_as(one) == counted_as(other)) is same
    assert len(counted_as("x" * 10_000)) <= 64


@pytest.mark.parametrize(
    ("network", "everybody"),
    [
        *(("0.0.0.0/0", True), ("::/0", True), ("0.0.0.0/1", True), ("128.0.0.0/1", True)),
        *(("2000::/3", True), ("10.0.0.0/8", False), ("fc00::/7", False), ("::1/128", False)),
        ("172.28.0.0/24", False),
    ],
)
def test_the_internet_is_no_proxy(network: str, *, everybody: bool) -> None:
    assert is_everybody(ip_network(network)) is everybody
