"""`run.py demo-shots`: pictures of every page, taken of the demo while it runs."""

import argparse
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from launcher.environment import ROOT
from launcher.terminal import Refusal, say

WIDTH, HEIGHT = 1280, 860
THEMES = ("light", "dark")
PATIENCE = 60
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PAGES = {
    "overview": "/admin",
    "signals": "/admin/signals",
    "list": "/admin/list",
    "positions": "/admin/positions",
    "past-positions": "/admin/positions/past",
    "destinations": "/admin/destinations",
    "attention": "/admin/attention",
    "activity": "/admin/activity",
    "settings": "/admin/settings",
    "doctor": "/admin/doctor",
}
THINGS = {
    "signal": ("/api/signals?status=approved&side=buy&limit=1", "/admin/signals/"),
    "signal-rejected": ("/api/signals?reason=not_in_list&limit=1", "/admin/signals/"),
    "position": ("/api/positions?state=closed&limit=1", "/admin/positions/"),
    "destination": ("/api/destinations", "/admin/destinations/"),
}
"""Pages of things, of which the demo has some by then: where one is found, and its page."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the command line understands."""
    parser.description = "Lets the demo run for a while, and takes pictures of its pages."
    parser.epilog = """\
example: python run.py demo-shots pictures

exit codes: 0 taken, 1 no Chromium here, or the demo does not run, 2 wrong command"""
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--minutes", type=float, default=4, help="of demo before (default 4)")


def run_demo_shots(options: argparse.Namespace) -> int:
    """Take them."""
    return run_shots(options.folder, options.minutes)


def run_shots(folder: Path, minutes: float) -> int:
    """Let the demo run for some minutes, and take pictures of its pages into ``folder``."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise Refusal("No Chromium here (Debian: sudo apt install chromium).")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="shots-") as data, _demo(Path(data)) as url:
        say(f"The demo runs for {minutes:g} minutes first, so that there is something to see.")
        time.sleep(60 * minutes)
        shots = list(_shoot(browser, url, _token(Path(data)), folder))
    _squeeze(shots)
    say(f"{len(shots)} pictures, {sum(one.stat().st_size for one in shots) / 1e6:.2f} MB: {folder}")
    return 0


@contextlib.contextmanager
def _demo(data: Path) -> Generator[str]:
    """A demo of its own, apart from one that an operator may have."""
    url = f"http://127.0.0.1:{(port := _free_port())}"
    command = [sys.executable, "-m", "launcher.demo", str(data)]
    quiet = subprocess.DEVNULL  # its log is a file of its own
    environment = os.environ | {"PORT": str(port)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=quiet, stderr=quiet) as demo:
        try:
            _wait_for(f"{url}/health/ready", demo)
            yield url
        finally:
            demo.send_signal(signal.SIGINT)


def _wait_for(url: str, demo: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):  # noqa: S310
            return
        if demo.poll() is not None or time.monotonic() > deadline:
            raise Refusal("The demo did not start: python run.py --demo says why.")
        time.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def _token(data: Path) -> str:
    secrets = (data / "secrets.env").read_text().splitlines()
    return next(line.partition("=")[2] for line in secrets if line.startswith("ADMIN_TOKEN="))


def _shoot(browser: str, url: str, token: str, folder: Path) -> Iterator[Path]:
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  of development alone

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for theme in THEMES:
            context = chromium.new_context(
                color_scheme="dark" if theme == "dark" else "light",
                viewport={"width": WIDTH, "height": HEIGHT},
                reduced_motion="reduce",
            )
            page = context.new_page()
            page.goto(f"{url}/admin/login")
            page.screenshot(path=(path := folder / f"login-{theme}.png"))
            yield path
            page.get_by_label("Admin token").fill(token)
            page.get_by_role("button", name="Sign in").click()
            page.wait_for_url("**/admin")
            for name, where in (PAGES | _things(page, url, token)).items():
                answer = page.goto(url + where)
                if answer is None or not answer.ok:
                    raise Refusal(f"There is no picture of {where}: {answer and answer.status}.")
                page.wait_for_load_state("networkidle")
                page.screenshot(path=(path := folder / f"{name}-{theme}.png"))
                yield path
        chromium.close()


def _things(page: Any, url: str, token: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, (where, of_one) in THINGS.items():
        answer = page.request.get(url + where, headers={"authorization": f"Bearer {token}"})
        items: list[dict[str, str]] = answer.json()["items"]
        if items:
            found[name] = of_one + items[0]["id"]
    return found


def _squeeze(shots: list[Path]) -> None:
    """A picture of a page has few colours: as a palette it is a third as large."""
    pngquant = shutil.which("pngquant")
    if pngquant is None:
        say("No pngquant here: the pictures stay large (Debian: sudo apt install pngquant).")
        return
    subprocess.run(
        [pngquant, "--force", "--skip-if-larger", "--ext", ".png", "64", "--", *map(str, shots)],
        check=False,  # 98: it would have been larger
    )
