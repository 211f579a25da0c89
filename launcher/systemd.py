"""Tell systemd how it goes (Type=notify): lines to NOTIFY_SOCKET; where there is none, nothing."""

import logging
import os
import socket
from typing import Any

log = logging.getLogger(__name__)


def tell(*lines: str) -> None:
    """Send what sd_notify(3) knows, such as READY=1; nobody who listens is no reason to stop."""
    if not (address := os.environ.get("NOTIFY_SOCKET")):
        return
    if address.startswith("@"):  # in Linux' abstract namespace
        address = f"\0{address[1:]}"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
            one.connect(address)
            one.send("\n".join(lines).encode())
    except OSError as error:
        log.warning("systemd.not_told", extra={"problem": str(error)})


def beat() -> None:
    """We are not stuck: WatchdogSec in the unit says how long this may fail to come."""
    if os.environ.get("WATCHDOG_PID") == str(os.getpid()):
        tell("WATCHDOG=1")


async def _beat_of_the_loop() -> None:
    beat()


def beating() -> dict[str, Any]:
    """For uvicorn: beat in its event loop, at least twice in WatchdogSec."""
    seconds = int(os.environ.get("WATCHDOG_USEC") or 0) // 2_000_000
    return {"callback_notify": _beat_of_the_loop, "timeout_notify": seconds} if seconds else {}
