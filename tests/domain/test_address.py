import ipaddress
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.address import (
    DestinationUrlError,
    check_destination_url,
    is_forbidden,
    must_be_private,
    shown,
)

LAN = (ipaddress.ip_network("192.168.7.0/24"), ipaddress.ip_network("fd12:3456::/32"))
EVERYTHING = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))

ACCEPTED = [
    "https://example.com/hook",
    "https://EXAMPLE.com:443/hook?a=b#c",
    "https://example.com:8443/",
    " https://webhooks.traderspost.io/trading/webhook/0000/secret ",
    "https://93.184.216.34/hook",
    "https://[2606:2800:220:1:248:1893:25c8:1946]/hook",
    "https://xn--mnchen-3ya.example/",
    # Resolved when dialled, and vetted then: no list of spellings is ever complete.
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.1/",
    "https://127.1/",
    "https://localhost/",
    "https://metadata.google.internal/",
    "https://127.0.0.1.nip.example/",
]

REFUSED = [
    "",
    "   ",
    "example.com/hook",
    "//example.com/hook",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://example.com/",
    "javascript:alert(1)",
    "https://",
    "https:///hook",
    "https://:443/hook",
    "http://example.com/hook",
    "http://example.com:443/hook",
    "https://example.com:80/",
    "https://example.com:22/",
    "https://example.com:0/",
    "https://example.com:00/",
    "https://example.com:99999/",
    "https://example.com:x/",
    "https://user@example.com/",
    "https://user:password@example.com/",
    "https://@example.com/",
    "https://example.com@127.0.0.1/",
    "https://good.example\\@127.0.0.1/",
    "https://exam ple.com/",
    "https://exam\nple.com/",
    "https://example.com/ho\tok",
    "https://example.com/\x00",
    "https://münchen.example/",
    "https://example.com\u3002internal/",
    "https://0177.0.0.1/",
    "https://256.1.1.1/",
    "https://exa%6dple.com/",
    "https://exam$ple.com/",
    f"https://{'a' * 64}.example/",
    f"https://{'a.' * 127}example/",
    "https://a..example/",
    "https://[2606:4700::1111%25eth0]/",
    "https://168.63.129.16/",
    "https://[::ffff:168.63.129.16]/",
    "https://[2606:4700::5efe:10.0.0.1]/",
    "https://[4000::1]/",
    "https://-example.com/",
    "https://.example.com/",
    "https://example.com../",
    "https://[::1/",
    "https://[::1]/",
    "https://[::]/",
    "https://0.0.0.0/",
    "https://0.1.2.3/",
    "https://10.0.0.1/",
    "https://100.64.0.1/",
    "https://100.100.100.200/",
    "https://127.0.0.1/",
    "https://127.255.255.254:8443/",
    "https://169.254.169.254/latest/meta-data/",
    "https://172.16.0.1/",
    "https://172.31.255.255/",
    "https://192.0.0.8/",
    "https://192.0.2.1/",
    "https://192.88.99.1/",
    "https://192.168.7.1/",
    "https://198.18.0.1/",
    "https://198.51.100.1/",
    "https://203.0.113.1/",
    "https://224.0.0.1/",
    "https://240.0.0.1/",
    "https://255.255.255.255/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[::127.0.0.1]/",
    "https://[64:ff9b::127.0.0.1]/",
    "https://[64:ff9b::a9fe:a9fe]/",
    "https://[64:ff9b:1::1]/",
    "https://[2002:7f00:1::]/",
    "https://[2001::1]/",
    "https://[2001:db8::1]/",
    "https://[100::1]/",
    "https://[3fff::1]/",
    "https://[5f00::1]/",
    "https://[fc00::1]/",
    "https://[fd00:ec2::254]/",
    "https://[fe80::1]/",
    "https://[fe80::1%25eth0]/",
    "https://[fec0::1]/",
    "https://[ff02::1]/",
]


@pytest.mark.parametrize("url", ACCEPTED)
def test_public_https_may_be_a_destination(url: str) -> None:
    assert check_destination_url(url) == url.strip()


@pytest.mark.parametrize("url", REFUSED)
def test_everything_else_may_not_and_is_not_repeated(url: str) -> None:
    with pytest.raises(DestinationUrlError) as refusal:
        check_destination_url(url)
    host = re.sub(r".*//|/.*", "", url).strip()
    assert not host or host not in str(refusal.value)


@pytest.mark.parametrize(
    "url",
    ["https://relay.example/webhook/in", "https://RELAY.example./", "https://relay.example:8443/x"],
)
def test_this_relay_is_no_destination_of_its_own(url: str) -> None:
    with pytest.raises(DestinationUrlError, match="own address"):
        check_destination_url(url, own_hosts={"relay.example"})
    assert check_destination_url(url, own_hosts={"other.example"})


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://192.168.7.9:8080/hook", True),
        ("https://192.168.7.9/hook", True),
        ("http://[fd12:3456::1]/", True),
        ("http://[::ffff:192.168.7.9]/", True),
        ("http://nas.lan:9000/hook", True),  # vetted when dialled
        ("https://93.184.216.34/hook", True),
        ("http://93.184.216.34/hook", False),
        ("https://93.184.216.34:9999/hook", False),
        ("http://192.168.8.9/hook", False),
        ("https://10.0.0.1/", False),
        ("https://127.0.0.1/", False),
    ],
)
def test_private_destinations_are_those_of_the_setting(url: str, *, allowed: bool) -> None:
    if allowed:
        assert check_destination_url(url, private=LAN) == url
    else:
        with pytest.raises(DestinationUrlError, match="private or special"):
            check_destination_url(url, private=LAN)


@pytest.mark.parametrize(
    "text",
    [
        *("169.254.169.254", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254"),
        *("fd20:ce::254", "fd00:c1::a9fe:a9fe", "fd00:42::42", "fe80::a9fe:a9fe"),
        *("::ffff:169.254.169.254", "::169.254.169.254", "::ffff:0:169.254.169.254"),
        *("64:ff9b::169.254.169.254", "64:ff9b:1::169.254.169.254", "64:ff9b:1:a9fe:a9:fe00::"),
        *("2002:a9fe:a9fe::1", "2001:0:4136:e378:8000:63bf:5601:5601", "2001:0:a9fe:a9fe::"),
        *("2606:4700::5efe:169.254.169.254", "fd00::200:5efe:100.100.100.200"),
    ],
)
def test_metadata_services_are_refused_whatever_the_setting(text: str) -> None:
    address = ipaddress.ip_address(text)
    assert is_forbidden(address, private=EVERYTHING, only_private=False)


@given(st.ip_addresses())
def test_an_address_python_calls_special_is_always_forbidden(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if not address.is_global or address.is_multicast:
        assert is_forbidden(address, private=(), only_private=False)


@given(st.ip_addresses(v=4))
def test_an_address_smuggled_in_another_is_no_more_allowed_than_itself(
    address: ipaddress.IPv4Address,
) -> None:
    plain = is_forbidden(address, private=(), only_private=False)
    mapped = ipaddress.ip_address(f"::ffff:{address}")
    assert is_forbidden(mapped, private=(), only_private=False) == plain
    high, low = int(address) >> 16, int(address) & 0xFFFF
    for text in (f"64:ff9b::{address}", f"2002:{high:x}:{low:x}::", f"::{address}"):
        assert is_forbidden(ipaddress.ip_address(text), private=(), only_private=False)


@pytest.mark.parametrize(
    ("text", "plain", "forbidden"),
    [
        ("64:ff9b::93.184.216.34", False, False),
        ("64:ff9b::93.184.216.34", True, True),
        ("64:ff9b::10.0.0.1", False, True),
        ("64:ff9b::192.168.7.9", True, False),
    ],
)
def test_nat64_that_is_allowed_is_no_way_around_the_rest(
    text: str, *, plain: bool, forbidden: bool
) -> None:
    """For machines without IPv4 of their own, PRIVATE_DESTINATIONS may have 64:ff9b::/96."""
    private = (*LAN, ipaddress.ip_network("64:ff9b::/96"))
    address = ipaddress.ip_address(text)
    assert is_forbidden(address, private=private, only_private=plain) == forbidden
    assert is_forbidden(address, private=(), only_private=False)


@pytest.mark.parametrize("text", ["::1", "127.0.0.1", "fd12:3456::1", "10.1.2.3"])
def test_what_the_setting_names_is_reached(text: str) -> None:
    address = ipaddress.ip_address(text)
    assert not is_forbidden(address, private=EVERYTHING, only_private=True)


@given(st.ip_addresses())
def test_where_only_private_will_do_nothing_else_does(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    inside = any(address in network for network in LAN if network.version == address.version)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    assert is_forbidden(address, private=LAN, only_private=True) == (not inside) or mapped


def test_plain_http_and_other_ports_are_for_private_networks() -> None:
    assert not must_be_private("https", 443)
    assert not must_be_private("https", 8443)
    assert must_be_private("https", 444)
    assert must_be_private("http", 443)


def test_a_shown_address_holds_no_secret() -> None:
    secret = "https://webhooks.traderspost.io/trading/webhook/4711/s3cret?key=s3cret#s3cret"
    assert shown(secret) == "https://webhooks.traderspost.io/•••"
    assert shown("https://example.com:8443/s3cret") == "https://example.com:8443/•••"
