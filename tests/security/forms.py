"""Spellings of addresses that must not be reached: written down, by rule, and by chance."""

import ipaddress
import random  # noqa: TID251  chance is drawn from a seed
from collections.abc import Iterator

CANARY = "127.0.0.1"
TARGETS = (
    *(CANARY, "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "198.18.0.1"),
    *("169.254.169.254", "100.100.100.200", "168.63.129.16", "192.0.0.192", "224.0.0.1"),
)
FULLWIDTH = str.maketrans("0123456789.", "０１２３４５６７８９．")  # noqa: RUF001  that is the trick
CIRCLED = str.maketrans("0123456789", "⓪①②③④⑤⑥⑦⑧⑨")

WRITTEN = """
http://localhost:{p}/ http://LOCALHOST:{p}/ http://localhost.:{p}/ http://localhost.localdomain:{p}/
http://ip6-localhost:{p}/ http://ip6-loopback:{p}/ http://a.localhost:{p}/ http://0:{p}/ http://00:{p}/
http://0x:{p}/ http://127.1.:{p}/ http://127.0.0.1.nip.io:{p}/ http://7f000001.nip.io:{p}/
http://127-0-0-1.sslip.io:{p}/ http://localtest.me:{p}/ http://spoofed.burpcollaborator.net:{p}/
http://metadata:{p}/ http://metadata.google.internal:{p}/ http://metadata.google.internal.:{p}/
http://METADATA.google.internal:{p}/computeMetadata/v1/ http://instance-data:{p}/latest/
http://instance-data.ec2.internal:{p}/ http://kubernetes.default.svc:{p}/ http://host.docker.internal:{p}/
http://gateway.docker.internal:{p}/ http://vault:{p}/ http://db:{p}/ http://intranet:{p}/ http://_gateway:{p}/
http://example.com@127.0.0.1:{p}/ http://example.com:80@127.0.0.1:{p}/ http://@127.0.0.1:{p}/
http://user:pw@127.0.0.1:{p}/ http://example.com%40127.0.0.1:{p}/ http://127.0.0.1%40example.com:{p}/
http://example.com%2f@127.0.0.1:{p}/ http://a@b@127.0.0.1:{p}/ http://127.0.0.1:{p}@example.com:{p}/
http://127.0.0.1:{p}#@example.com/ http://127.0.0.1:{p}?@example.com/ http://example.com#@127.0.0.1:{p}/
http://127.0.0.1:{p}\\@example.com/ http://example.com\\@127.0.0.1:{p}/ http:\\\\127.0.0.1:{p}/
http:/\\127.0.0.1:{p}/ http://\\127.0.0.1:{p}/ /\\127.0.0.1:{p}/ \\\\127.0.0.1:{p}\\c$ //127.0.0.1:{p}/
http:///127.0.0.1:{p}/ http:/127.0.0.1:{p}/ http:127.0.0.1:{p}/ http:////127.0.0.1:{p}/ http:@127.0.0.1:{p}/
127.0.0.1:{p} localhost:{p}/x ://127.0.0.1:{p}/ http//127.0.0.1:{p}/ https://127.0.0.1:{p}:{p}/
http://127.0.0.1:0{p}/ http://127.0.0.1:+{p}/ http://127.0.0.1:-1/ http://127.0.0.1:0/ http://127.0.0.1:00/
http://127.0.0.1:65536/ http://127.0.0.1:99999999999/ http://127.0.0.1:{p}abc/ http://127.0.0.1:0x50/
http://127.0.0.1:/ http://127.0.0.1:{p};@example.com/ http://127.0.0.1:{p},example.com/
http://127.0.0.1,example.com:{p}/ http://127.0.0.1;example.com:{p}/ http://127.0.0.1&@example.com:{p}/
http://127。0。0。1:{p}/ http://127．0．0．1:{p}/ http://127｡0｡0｡1:{p}/ http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ:{p}/
http://ｌｏｃａｌｈｏｓｔ:{p}/ http://localhoſt:{p}/ http://loc\u00adalhost:{p}/ http://local\u200bhost:{p}/
http://127.0.0.1\u2044@example.com:{p}/ http://example.com\uff0f@127.0.0.1:{p}/ http://ℓocalhost:{p}/
http://127%2e0%2e0%2e1:{p}/ http://%31%32%37.0.0.1:{p}/ http://%6cocalhost:{p}/ http://localhost%00.example.com:{p}/
http://localhost%0a:{p}/ http://127.0.0.1%0d%0a:{p}/ http://127.0.0.1%09:{p}/ http://127.0.0.1%20:{p}/
http://127.0.0.1%2523:{p}/ http://127.0.0.1%23.example.com:{p}/ http://127.0.0.1%3a{p}/ http://%00127.0.0.1:{p}/
http://xn--127-0-0-1:{p}/ http://xn--zzzz99:{p}/ http://xn--:{p}/ http://xn--localhost-:{p}/
HTTP://127.0.0.1:{p}/ hTTp://127.0.0.1:{p}/ HTTPS://127.0.0.1:{p}/ https://localhost/ https://127.0.0.1/
gopher://127.0.0.1:{p}/_GET%20/ dict://127.0.0.1:{p}/info ftp://127.0.0.1:{p}/ ftps://127.0.0.1:{p}/
ldap://127.0.0.1:{p}/ ldaps://127.0.0.1:{p}/ tftp://127.0.0.1:{p}/ sftp://127.0.0.1:{p}/ smb://127.0.0.1:{p}/
file:///etc/passwd file://127.0.0.1/etc/passwd file://localhost:{p}/ jar:http://127.0.0.1:{p}!/ netdoc://127.0.0.1:{p}/
data:text/plain,x javascript:fetch('http://127.0.0.1:{p}') ws://127.0.0.1:{p}/ wss://127.0.0.1:{p}/
unix:///var/run/docker.sock http+unix://%2fvar%2frun%2fdocker.sock/ http://unix:/var/run/docker.sock:/
socks5://127.0.0.1:{p}/ telnet://127.0.0.1:{p}/ view-source:http://127.0.0.1:{p}/ url:http://127.0.0.1:{p}/
feed:http://127.0.0.1:{p}/ phar://127.0.0.1:{p}/ php://127.0.0.1:{p}/ blob:http://127.0.0.1:{p}/ about:blank
http://[::1]:{p}/ http://[::]:{p}/ http://[0:0:0:0:0:0:0:1]:{p}/ http://[0000::0001]:{p}/ http://[::0001]:{p}/
http://[::1%25lo]:{p}/ http://[::1%lo]:{p}/ http://[::1%251]:{p}/ http://[fe80::1%25eth0]:{p}/ http://[fe80::1%eth0]:{p}/
http://[fe80::a9fe:a9fe%25lo]:{p}/ http://[::ffff:127.0.0.1%25lo]:{p}/ http://[2606:4700::1111%25lo]:{p}/
http://[::1]@example.com:{p}/ http://[::1:{p}/ http://::1:{p}/ http://[::1]x:{p}/ http://x[::1]:{p}/ http://[[::1]]:{p}/
http://[127.0.0.1]:{p}/ http://[localhost]:{p}/ http://[v1.127.0.0.1]:{p}/ http://[::1]]:{p}/ http://[]:{p}/
http://[fc00::1]:{p}/ http://[fd00:ec2::254]:{p}/ http://[fd20:ce::254]:{p}/ http://[fd00:42::42]:{p}/ http://[fec0::1]:{p}/
http://[fd00:c1::a9fe:a9fe]:{p}/ http://[ff02::1]:{p}/ http://[100::1]:{p}/ http://[2001:db8::1]:{p}/
http://[2001::1]:{p}/ http://[2001:10::1]:{p}/ http://[2001:20::1]:{p}/ http://[3fff::1]:{p}/ http://[5f00::1]:{p}/
http://[4000::1]:{p}/ http://[9000::1]:{p}/ http://[::fffe:127.0.0.1]:{p}/ http://[64:ff9b:1:7f00:0:100::]:{p}/
"""  # noqa: E501, RUF001  that is the trick

CONTROLS = tuple(
    head + sign + tail
    for sign in ("\t", "\n", "\r", "\r\n", " ", "\0", "\x0b", "\x7f", "\u2028")
    for head, tail in (
        ("http://127.0.0.1", ":{p}/"),
        ("http://", "127.0.0.1:{p}/"),
        ("ht", "tp://127.0.0.1:{p}/"),
        ("http://example.com", "@127.0.0.1:{p}/"),
        ("http://127.0.0.1:{p}/ HTTP/1.1", "Host: x"),
    )
)


def spellings(target: str) -> Iterator[str]:
    """The host parts that some parser takes for this IPv4 address."""
    number = int(ipaddress.IPv4Address(target))
    a, b, c, d = number.to_bytes(4, "big")
    yield from (target, f"{target}.", f"{target}..", str(number), hex(number), f"0{number:o}")
    yield from (f"{a}.{b}.{c << 8 | d}", f"{a}.{number & 0xFFFFFF}", f"0x{a:x}.{b}.{c}.0{d:o}")
    yield from (f"0{a:o}.0{b:o}.0{c:o}.0{d:o}", f"000{a:o}.000{b:o}.000{c:o}.000{d:o}")
    yield from (f"{a:#04x}.{b:#04x}.{c:#04x}.{d:#04x}", f"0X{number:08X}", f"0x000000{number:08x}")
    yield from (str(number + 2**32), hex(number + 2**32), f"{a + 256}.{b + 256}.{c}.{d}")
    yield from (f"{a:03}.{b:03}.{c:03}.{d:03}", f"{target}.nip.io", f"a.{target}.sslip.io")
    yield from (target.translate(FULLWIDTH), target.translate(CIRCLED), target.replace(".", "。"))
    yield from (f"[{carrier}]" for carrier in carriers(number))


def carriers(number: int) -> Iterator[str]:
    """The IPv6 addresses that something on the way makes this IPv4 address of."""
    plain, high, low = ipaddress.IPv4Address(number), number >> 16, number & 0xFFFF
    yield from (f"::ffff:{plain}", f"::ffff:{high:x}:{low:x}", f"0:0:0:0:0:FFFF:{plain}")
    yield from (f"::{plain}", f"::ffff:0:{plain}", f"64:ff9b::{plain}", f"64:ff9b:1::{plain}")
    yield f"64:ff9b:1:{high:x}:{low >> 8:x}:{(low & 0xFF) << 8:x}::"
    yield f"2002:{high:x}:{low:x}::1"
    yield f"2001:0:{high:x}:{low:x}::1"
    yield f"2001:0:4136:e378:8000:63bf:{high ^ 0xFFFF:x}:{low ^ 0xFFFF:x}"
    yield from (f"2606:4700::5efe:{plain}", f"2606:4700::200:5efe:{plain}")


def forms(port: int) -> list[str]:
    """More than 300, each of them once."""
    ruled = [
        f"{scheme}://{host}:{at}/"
        for target in TARGETS
        for host in spellings(target)
        for scheme, at in (("http", port), ("https", 443))
    ]
    written = [one.replace("{p}", str(port)) for one in (*WRITTEN.split(), *CONTROLS)]
    return list(dict.fromkeys([*written, *ruled]))


def by_chance(port: int, count: int, seed: int) -> Iterator[str]:
    """Any number of them, the same for the same seed."""
    dice = random.Random(seed)
    for _ in range(count):
        url = "".join(
            (
                dice.choice(("http", "https", "HTTP", "Https", "http", "https")),
                dice.choice(("://", "://", "://", "://", ":/", ":", "://\\", ":///")),
                dice.choice(("", "", "", "", "@", "a@", "example.com@", "a:b@", "%40", "[@")),
                _host(dice),
                dice.choice(("", f":{port}", f":{port}", ":443", ":8443", f":0{port}", ":0", ":")),
                dice.choice(("", "/", "/x", "?a", "#@example.com", "/@example.com", "\\@e.com/")),
            )
        )
        yield _mutated(url, dice) if dice.random() < 0.3 else url


def _host(dice: random.Random) -> str:
    number = int(ipaddress.IPv4Address(dice.choice(TARGETS)))
    if dice.random() < 0.3:
        number = dice.choice((0x7F, 0x0A, 0, 0xE0, 0xC0A8 >> 8)) << 24 | dice.getrandbits(24)
    match dice.randrange(5):
        case 0:
            return dice.choice(list(spellings(str(ipaddress.IPv4Address(number)))))
        case 1:
            return f"[{dice.choice(list(carriers(number)))}]"
        case 2:
            return f"[{ipaddress.IPv6Address(_special(dice))}]"
        case _:
            return _in_parts(number, dice)


def _special(dice: random.Random) -> int:
    """An IPv6 address of a range that nobody outside has."""
    head = dice.choice((0xFC00, 0xFD00, 0xFE80, 0xFEC0, 0xFF02, 0x0100, 0x5F00, 0x3FFF, 0x2002))
    return head << 112 | dice.getrandbits(112)


def _in_parts(number: int, dice: random.Random) -> str:
    """One to four parts, each decimal, octal or hexadecimal, with any number of zeros before."""
    count = dice.randint(1, 4)
    octets = list(number.to_bytes(4, "big"))
    last = int.from_bytes(bytes(octets[count - 1 :]), "big")
    return ".".join(_digits(one, dice) for one in (*octets[: count - 1], last))


def _digits(value: int, dice: random.Random) -> str:
    zeros = "0" * dice.choice((0, 0, 0, 1, 5))
    return dice.choice((f"{value}", f"0{zeros}{value:o}", f"0x{zeros}{value:x}", f"0X{value:X}"))


def _mutated(url: str, dice: random.Random) -> str:
    at = dice.randrange(len(url) + 1)
    sign = dice.choice("\t\n\r \0.:/@#?%[]\\。①٠ⅷ-_;,&'\"")
    return url[:at] + sign + url[at + dice.randint(0, 1) :]
