"""Ask the relay of this machine for a token that can only read, and print it: for Prometheus.

`python -m launcher.metrics_token`, where `ADMIN_TOKEN` or DATA_DIR/secrets.env is at hand.
"""

from argparse import Namespace
from datetime import UTC, datetime

from launcher.asking import Relay, UnreachableError, answered
from launcher.terminal import Refusal, say

ADMIN = ("ADMIN_TOKEN",)


def made(relay: Relay, name: str) -> str:
    """The new token; raises Refusal."""
    asked = {"name": name, "scopes": ["read"]}
    try:
        reply = relay.ask("POST", "/api/tokens", ADMIN, body=asked)
    except UnreachableError as error:
        raise Refusal(str(error)) from None
    return answered(relay, reply, "token", ADMIN)["token"]


def main() -> None:
    name = f"prometheus {datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
    say(made(Relay.of(Namespace(url=None, token_file=None)), name))


if __name__ == "__main__":
    main()
