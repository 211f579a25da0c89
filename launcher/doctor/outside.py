"""PUBLIC_URL from where we are: whether we answer there, by a GET that cannot be an alert."""

import asyncio
import ipaddress
from urllib.parse import urlsplit

import httpx

from domain.address import is_forbidden, port_of
from engines.clock import utc_now
from engines.outbound import ANYWHERE, outgoing, vetted_transport
from launcher.doctor.dial import UnreachedError, certificate, reach
from launcher.doctor.findings import PUBLIC, Finding
from launcher.doctor.setup import is_loopback

PATH = "/webhook/in"
PATIENCE = httpx.Timeout(10)
IPV4_ONLY = "TradingView uses IPv4 only: give the name an A record"
PROXY = "the proxy has to pass /webhook/ on to HOST and PORT (docs/install.md)"


async def examine(public_url: str) -> list[Finding]:
    """Its name, its certificate, and who answers."""
    host = urlsplit(public_url).hostname or ""
    findings = [] if is_loopback(host) else [await _name(host, port_of(urlsplit(public_url)))]
    try:
        reached = await reach(public_url, ANYWHERE)
    except UnreachedError as error:
        words = f"not reached from here: {error.words}"
        return [*findings, PUBLIC.fails("reachable", words, f"{error.todo} (docs/install.md)")]
    findings.append(certificate(PUBLIC, "reachable", reached, utc_now()))
    return [*findings, await _webhook(public_url)]


async def _name(host: str, port: int) -> Finding:
    """What others find under the name."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port)
    except OSError:
        return PUBLIC.fails("name", "does not resolve", "give it an A record with this address")
    return named(sorted({str(answer[4][0]).partition("%")[0] for answer in found}))


def named(literals: list[str]) -> Finding:
    addresses = [ipaddress.ip_address(one) for one in literals]
    words = f"leads to {', '.join(literals)}"
    if not any(one.version == 4 for one in addresses):
        return PUBLIC.fails("name", words, IPV4_ONLY)
    if any(is_forbidden(one, private=(), only_private=False) for one in addresses):
        todo = "right only where this network answers differently than the internet does"
        return PUBLIC.warning("name", f"{words}: no address that others can reach", todo)
    return PUBLIC.ok("name", words)


async def _webhook(public_url: str) -> Finding:
    """A GET without a token: the webhook takes POST alone, and says so."""
    url = f"{public_url}{PATH}"
    async with outgoing(vetted_transport(url, ANYWHERE, 1), PATIENCE) as client:
        try:
            answer = await client.get(url)
        except httpx.HTTPError as error:
            words = f"GET {PATH} is not answered ({type(error).__name__})"
            return PUBLIC.fails("webhook", words, PROXY)
    return answered(answer.status_code, answer.text[:1_000])


def answered(status: int, body: str) -> Finding:
    if status == 405 and "alerts are posted" in body:
        return PUBLIC.ok("webhook", "the relay answers there")
    if status in {502, 503, 504}:
        words = f"the proxy answers {status}: behind it nobody does"
        return PUBLIC.fails("webhook", words, "start the relay, or correct where the proxy leads")
    return PUBLIC.fails("webhook", f"somebody else answers there (HTTP {status})", PROXY)
