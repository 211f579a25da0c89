"""Run where every address there is belongs to this machine: who of all of them is spoken to?"""

import asyncio
import json
import socket
import sys
from collections import Counter

import pytest

from domain.address import Network
from engines.destinations.client import DestinationClient
from tests.engines.loopback import BODY, HEADERS, LOOPBACK, leaves
from tests.security.canary import resolve, share_context
from tests.security.forms import by_chance, forms
from tests.security.names import NameServer

PORTS = (80, 443, 8080, 8443)


async def meeting(
    urls: list[str], private: tuple[Network, ...], said: list[str | None] | None = None
) -> Counter[str]:
    """Post to each; return by which addresses the listeners were reached."""
    answers = [] if said is None else said
    met: Counter[str] = Counter()

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        met[writer.get_extra_info("sockname")[0].removeprefix("::ffff:")] += 1
        writer.close()

    servers = [
        await asyncio.start_server(talk, sock=_listener(port), backlog=1_000) for port in PORTS
    ]
    for url in urls:
        try:
            client = DestinationClient(url, private=private)
        except ValueError:  # no address at all: it could not be entered
            continue
        answers.append((await client.post(BODY, HEADERS, leaves)).error)
        await client.close()
    for server in servers:
        server.close()
    return met


def _listener(port: int) -> socket.socket:
    return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)


async def rebound() -> dict[str, object]:
    """Ask a real name server that changes its mind; return who was met and what was said of it."""
    answers = [["93.184.216.34"], ["127.0.0.1"], ["93.184.216.34", "10.0.0.1"], ["169.254.169.254"]]
    loop = asyncio.get_running_loop()
    server, names = await loop.create_datagram_endpoint(
        lambda: NameServer(answers), local_addr=("127.0.0.1", 53)
    )
    urls = ["https://rebound.example/"] * 6
    said: list[str | None] = []
    met = await meeting(urls, (), said)
    server.close()
    return {"met": met, "said": said, "asked": names.asked}


async def _main(count: int, patch: pytest.MonkeyPatch) -> None:
    share_context(patch)
    rebinding = await rebound()
    resolve(patch, ["127.0.0.1"])
    urls = [*forms(8080), *by_chance(8080, count, seed=11)]
    told = {
        "rebound": rebinding,
        "forms": len(urls),
        "met": await meeting(urls, ()),
        "allowed": await meeting(["http://127.0.0.1:8080/", "http://here.example:8080/"], LOOPBACK),
        "public": await meeting(["https://93.184.216.34/", "https://[2606:4700::1111]/"], ()),
    }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as patched:
        asyncio.run(_main(int(sys.argv[1]), patched))
