"""The way to a public https address that README.md shows, walked with a real Caddy."""

import asyncio
import shutil
import ssl
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.docs.blocks import ROOT, blocks_of
from tests.docs.session import HERE
from tests.end_to_end.stage import free_port
from tests.pages.conftest import House
from tests.web.stage import ADMIN_TOKEN, WEBHOOK_TOKEN, cloned, relay, until

NAME = "relay.example.com"
OPTIONS = """{{
    admin off
    local_certs
    skip_install_trust
    auto_https disable_redirects
    storage file_system {folder}
}}
"""
"""What a test has instead of a public name: certificates of its own, on a port of its own."""


@dataclass(frozen=True, slots=True)
class Public:
    """The relay, by the name that the world knows."""

    house: House
    port: int
    authority: Path

    async def ask(self, method: str, path: str, **headers: str) -> httpx.Response:
        context = ssl.create_default_context(cafile=self.authority)
        async with httpx.AsyncClient(verify=context, trust_env=False, timeout=40) as http:
            return await http.request(
                method,
                f"https://127.0.0.1:{self.port}{path}",
                headers={"host": NAME, **headers},
                content=b'{"ticker": "AAPL", "action": "buy"}' if method == "POST" else None,
                extensions={"sni_hostname": NAME},
            )


def caddyfile(house: House, port: int, folder: Path) -> str:
    """README.md's, with our ports."""
    (shown,) = [one.code for one in blocks_of(ROOT / "README.md") if one.language == "caddy"]
    assert shown.startswith(f"{NAME} {{")
    assert HERE in shown
    ours = shown.replace(NAME, f"{NAME}:{port}").replace(HERE, f"127.0.0.1:{house.port}")
    return OPTIONS.format(folder=folder / "storage") + ours


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def public(template: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Public]:
    tmp_path = tmp_path_factory.mktemp("caddy")
    caddy = shutil.which("caddy")
    if caddy is None:
        pytest.skip("no caddy here: the way to a public address is not walked")
    settings: dict[str, Any] = {"public_url": f"https://{NAME}", "trusted_proxies": "127.0.0.1"}
    async with cloned(template) as url, relay(url, wait=False, **settings) as one:
        house, port = House(one), free_port()
        await house.open()
        file = tmp_path / "Caddyfile"
        file.write_text(caddyfile(house, port, tmp_path))
        command = [caddy, "run", "--config", str(file), "--adapter", "caddyfile"]
        own = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
        process = await asyncio.create_subprocess_exec(
            *command, env=own, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            authority = tmp_path / "storage" / "pki" / "authorities" / "local" / "root.crt"
            here = Public(house, port, authority)
            await until(lambda: answers(here), "a proxy with a certificate", 60)
            yield here
        finally:
            process.terminate()
            await process.wait()
            await house.close()


async def answers(public: Public) -> bool:
    try:
        await public.ask("GET", "/")
    except (OSError, httpx.TransportError):
        return False
    return True


@pytest.mark.asyncio(loop_scope="session")
async def test_the_webhook_is_public_and_nothing_else(public: Public) -> None:
    alert = await public.ask("POST", f"/webhook/in/{WEBHOOK_TOKEN}")
    assert alert.status_code == 202
    assert (await public.ask("POST", "/webhook/in/wrong")).status_code == 401
    bearer = {"authorization": f"Bearer {ADMIN_TOKEN}"}
    for path in ("/", "/admin", "/admin/login", "/api/signals", "/status", "/metrics", "/health"):
        assert (await public.ask("GET", path, **bearer)).status_code == 404, path


@pytest.mark.asyncio(loop_scope="session")
async def test_who_called_is_told_by_the_proxy_alone(public: Public) -> None:
    spoofed = {"x-forwarded-for": "203.0.113.7", "forwarded": "for=203.0.113.7"}
    refused = await public.ask("POST", "/webhook/in/wrong-too", **spoofed)
    assert refused.status_code == 401

    async def told() -> set[str]:
        """Once a minute: a test beside this one is refused as well."""
        found = await public.house.relay.read("/api/activity?action=access.refused")
        return {one["from"] for one in found["items"]}

    async def is_told() -> bool:  # after the answer: nobody waits for it
        return bool(await told())

    await until(is_told, "the refusal to be told", 40)
    assert await told() == {"127.0.0.1"}
