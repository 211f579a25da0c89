"""Asking the relay that runs: where it is, which token suffices, and what it answers."""

import argparse
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias
from urllib.parse import SplitResult, urlsplit

from launcher.terminal import Refusal

if TYPE_CHECKING:  # slow to load, and `--help` asks nobody
    from http.client import HTTPConnection, HTTPResponse

Found: TypeAlias = dict[str, Any]

ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  we ask there, and listen nowhere
DEMO = Path("data") / "demo"
SECRETS = "secrets.env"

READ = TRADE = ("FINVIZ_UPDATE_TOKEN", "ADMIN_TOKEN")
INGEST = ("WEBHOOK_TOKEN", "ADMIN_TOKEN")
"""Which tokens allow it, the one that allows least first."""


class UnreachableError(Exception):
    """Nobody answers, or not a relay; ``str`` says where and what to do."""


@dataclass(frozen=True, slots=True)
class Reply:
    """``found`` is what its JSON holds: never empty, and of a refusal with a `detail`."""

    status: int
    found: Found

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


def add_options(parser: argparse.ArgumentParser) -> None:
    """Where the relay is, and by whose word it is asked."""
    own = parser.add_argument_group("the relay")
    own.add_argument("--url", type=address, help="where it runs; default: HOST and PORT")
    own.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="a token to ask with; default: the one of the settings that allows least",
    )
    own.add_argument(
        "--demo",
        action="store_true",
        default=argparse.SUPPRESS,  # it may stand before the command as well
        help="ask the demo: its tokens are others",
    )


def address(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        known = parts.scheme in {"http", "https"} and parts.hostname and (parts.port or True)
    except ValueError:
        known = False
        parts = urlsplit("")
    if not known:
        raise argparse.ArgumentTypeError("it must be like http://127.0.0.1:8000")
    return parts


@dataclass(frozen=True, slots=True)
class Relay:
    """One that runs at ``at``. By no proxy and to nowhere else: tokens are for it alone."""

    at: SplitResult
    _settings: Mapping[str, str] = field(repr=False)
    _token_file: Path | None = None

    @classmethod
    def of(cls, options: argparse.Namespace) -> "Relay":
        settings = _read(demo=getattr(options, "demo", False))
        return cls(options.url or _own(settings), settings, options.token_file)

    @property
    def where(self) -> str:
        return f"{self.at.scheme}://{self.at.netloc.rpartition('@')[2]}"

    def page(self, path: str) -> str:
        """The address of a page, to be opened by whoever reads it."""
        return f"{self.where}{self.at.path.rstrip('/')}{path}"

    def ask(
        self,
        method: str,
        path: str,
        tokens: tuple[str, ...] = READ,
        *,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        patience: float = 10,
    ) -> Reply:
        """What it answers, whatever that is. Raises UnreachableError, or Refusal without a token.

        ``body`` is sent as JSON, or bytes as they are.
        """
        given = {"content-type": "application/json"} if body is not None else {}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection = self.dial(patience)
        try:
            reply = self.say(connection, method, path, tokens, data, {**given, **(headers or {})})
            return self.understood(reply.status, self._whole(reply, patience))
        finally:
            connection.close()

    def dial(self, patience: float) -> "HTTPConnection":
        from http.client import HTTPConnection, HTTPSConnection  # noqa: PLC0415  slow to load

        kind = HTTPSConnection if self.at.scheme == "https" else HTTPConnection
        return kind(self.at.hostname or "", self.at.port, timeout=patience)

    def say(
        self,
        connection: "HTTPConnection",
        method: str,
        path: str,
        tokens: tuple[str, ...],
        data: bytes | None,
        headers: Mapping[str, str],
    ) -> "HTTPResponse":
        """Send it and return how the answer begins. Raises UnreachableError."""
        from http.client import HTTPException  # noqa: PLC0415  slow to load

        shown = {"authorization": f"Bearer {self.token(tokens)}", **headers}
        try:
            connection.request(method, f"{self.at.path.rstrip('/')}{path}", data, shown)
            return connection.getresponse()
        except (OSError, HTTPException, UnicodeError) as error:
            self._lost(error, connection.timeout)

    def _whole(self, reply: "HTTPResponse", patience: float) -> bytes:
        from http.client import HTTPException  # noqa: PLC0415  slow to load

        try:
            return reply.read()
        except (OSError, HTTPException) as error:
            self._lost(error, patience)

    def _lost(self, error: Exception, patience: float | None) -> NoReturn:
        from ssl import SSLCertVerificationError  # noqa: PLC0415  slow to load

        if isinstance(error, TimeoutError):
            words = f"The relay at {self.where} did not answer within {patience:g} s."
        elif isinstance(error, SSLCertVerificationError):
            words = (
                f"The certificate of {self.where} is not trusted ({error.verify_message}):"
                " SSL_CERT_FILE may name the one it was signed with."
            )
        else:
            words = (
                f"No relay answers at {self.where}: start it (python run.py),"
                " or say where it is (--url)."
            )
        raise UnreachableError(words) from None

    def understood(self, status: int, text: bytes) -> Reply:
        try:
            found: object = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        reply = Reply(status, found if isinstance(found, dict) else {})  # pyright: ignore[reportUnknownArgumentType]  JSON
        if not reply.found or not (reply.ok or "detail" in reply.found):
            raise UnreachableError(
                f"What answers at {self.where} is not this relay (HTTP {status})."
            )
        return reply

    # ── Tokens ──────────────────────────────────────────────────────────────────────────────

    def token(self, names: tuple[str, ...]) -> str:
        """The first there is of ``names``. Raises Refusal."""
        if self._token_file:
            return _checked(_text(self._token_file, "--token-file"), "--token-file")
        for name in names:
            if found := self._named(name):
                return _checked(found, name)
        raise Refusal(
            f"{' or '.join(names)} is needed: in the environment, .env or DATA_DIR"
            f"{' (of the demo: --demo)' if self._demo_is_there() else ''}.",
            2,
        )

    def name_of(self, names: tuple[str, ...]) -> str:
        """What the token is called that is shown for one of ``names``."""
        if self._token_file:
            return "token of --token-file"
        return next((name for name in names if self._named(name)), names[0])

    def _named(self, name: str) -> str | None:
        """Its value, or what the file holds that NAME_FILE names; the relay reads it so."""
        file = self._settings.get(f"{name}_FILE")
        return _text(Path(file), f"{name}_FILE") if file else self._settings.get(name)

    def _demo_is_there(self) -> bool:
        return (DEMO / SECRETS).exists()


def answered(relay: Relay, reply: Reply, expected: str, tokens: tuple[str, ...] = READ) -> Found:
    """What was found, where it has what is ``expected``. Raises Refusal with one line."""
    if reply.status == 401:
        raise Refusal(
            f"The relay at {relay.where} does not take this {relay.name_of(tokens)}."
            f"{' (The demo has others: --demo.)' if (DEMO / SECRETS).exists() else ''}"
        )
    if not reply.ok:
        raise Refusal(
            f"The relay at {relay.where}: {reply.found['detail']}", 2 if reply.status == 400 else 1
        )
    if expected not in reply.found:
        raise Refusal(f"What answers at {relay.where} is not this relay (HTTP {reply.status}).")
    return reply.found


def a_key(given: str | None) -> str:
    """An Idempotency-Key: the one ``given``, or another each time. Raises Refusal."""
    key = given or f"run.py-{os.urandom(16).hex()}"
    if not (key.isascii() and key.isprintable()):
        raise Refusal("--key: visible ASCII alone.", 2)
    return key


def _read(*, demo: bool) -> dict[str, str]:
    """The environment, then `.env`, then what was generated, as the relay itself reads them."""
    from launcher import credentials  # noqa: PLC0415  slow to load

    own = {name.upper(): value for name, value in os.environ.items() if value}
    kept = credentials.read
    given = {k: v for k, v in (_lines(Path(".env"), kept) | own).items() if v}
    for name in {*READ, *INGEST}:
        if name in given and f"{name}_FILE" in given:
            raise Refusal(f"{name}_FILE: {name} is set too: keep one of them.", 2)
    folder = DEMO if demo else Path(given.get("DATA_DIR") or "data")
    return _lines(folder / SECRETS, kept) | given


def _lines(path: Path, read: Callable[[Path], dict[str, str]]) -> dict[str, str]:
    try:
        return read(path)
    except OSError as error:
        raise Refusal(f"{path} cannot be read: {error.strerror}.", 2) from None


def _own(settings: Mapping[str, str]) -> SplitResult:
    host = settings.get("HOST") or "127.0.0.1"
    host = ANYWHERE.get(host, host)
    shown = f"[{host}]" if ":" in host else host
    port = settings.get("PORT") or "8000"
    try:
        return address(f"http://{shown}:{port}")
    except argparse.ArgumentTypeError:
        raise Refusal(
            "HOST, PORT: no address can be made of them; --url says another.", 2
        ) from None


def _text(path: Path, name: str) -> str:
    try:
        found = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise Refusal(f"{name}: cannot be read: {why}.", 2) from None
    if not found:
        raise Refusal(f"{name}: the file is empty.", 2)
    return found


def _checked(token: str, name: str) -> str:
    """What cannot stand in a header is refused here: elsewhere the error would quote it."""
    if not (token.isascii() and token.isprintable()):
        raise Refusal(f"{name}: holds characters that no token has.", 2)
    return token
