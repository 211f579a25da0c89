"""Settings: read once from the environment, by main and the launcher, and handed out in pieces."""

import base64
import ipaddress
import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias, cast
from urllib.parse import unquote, urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    create_model,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from domain.origin import is_everybody
from domain.rate import Window, parse_windows
from domain.weak import SHORTEST, is_well_known

SECRETS_FILE = "secrets.env"
ENV_FILE = ".env"

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class SettingsError(ValueError):
    """One line: the variable, what is wrong with its value, what is allowed."""


def _strong(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if len(text) < SHORTEST:
        raise ValueError(
            f"is too short: at least {SHORTEST} characters, as `python run.py` generates them"
        )
    if is_well_known(text):
        raise ValueError("is a known weak value: remove it and `python run.py` generates one")
    return value


def _keylike(value: SecretStr) -> SecretStr:
    """What is no key at all the vault refuses."""
    try:
        raw = base64.b64decode(value.get_secret_value(), altchars=b"-_")
    except ValueError:
        return value
    if len(raw) == 32 and len(set(raw)) < 8:
        raise ValueError("is a known weak value: take 32 random bytes")
    return value


def _comma_list(value: object) -> object:
    return (
        [part.strip() for part in value.split(",") if part.strip()]
        if isinstance(value, str)
        else value
    )


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _windows(value: str) -> str:
    parse_windows(value)
    return value


def _asyncpg(value: SecretStr) -> SecretStr:
    scheme, found, rest = value.get_secret_value().partition("://")
    if not found or scheme not in {"postgres", "postgresql", "postgresql+asyncpg"}:
        raise ValueError("should begin with postgresql+asyncpg://")
    return SecretStr(f"postgresql+asyncpg://{rest}")


def _origin(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/"):
        raise ValueError("should be a scheme and a host, such as https://relay.example.com")
    return value.rstrip("/")


def _address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("should be an address, such as http://127.0.0.1:4318")
    return value


def _proxies(value: tuple[Network, ...]) -> tuple[Network, ...]:
    if any(is_everybody(network) for network in value):
        raise ValueError(
            "trusts everybody, and so anybody could say who he is: name the proxy's own address"
            " or network, such as 172.28.0.2 or 10.0.0.0/8"
        )
    return value


Token: TypeAlias = Annotated[SecretStr, AfterValidator(_strong)]
Key: TypeAlias = Annotated[SecretStr, AfterValidator(_keylike)]
Origin: TypeAlias = Annotated[str, AfterValidator(_origin)]
Networks: TypeAlias = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_comma_list)]
Address: TypeAlias = Annotated[str, AfterValidator(_address)]
OptionalSeconds: TypeAlias = Annotated[float, Field(ge=1, le=86_400)] | None


class Settings(BaseSettings):
    """Every setting an operator has, named as in `.env.example`, which explains each."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True
    )

    database_url: Annotated[SecretStr, AfterValidator(_asyncpg)] | None = None
    database_owner_url: Annotated[SecretStr, AfterValidator(_asyncpg)] | None = None
    data_dir: Path = Path("data")
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65_535)
    public_url: Origin | None = None
    trusted_proxies: Annotated[Networks, AfterValidator(_proxies)] = ()
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)] = (
        "INFO"
    )
    log_signals: bool = True
    otel_exporter_otlp_endpoint: Address | None = None
    otel_exporter_otlp_headers: SecretStr | None = None
    otel_service_name: str = Field("trading-signal-processor", max_length=64)
    shutdown_grace_sec: float = Field(10, ge=0, le=300)
    workers: int = Field(1, ge=1, le=32)

    webhook_token: Token
    finviz_update_token: Token
    admin_token: Token
    allow_unauthenticated_ingress: bool = False
    encryption_key: Key
    encryption_key_old: Key | None = None
    session_idle_min: int = Field(30, ge=1, le=1_440)
    session_max_h: int = Field(12, ge=1, le=168)
    live_clients_max: int = Field(200, ge=0, le=10_000)

    dest_webhook_url: SecretStr | None = None
    dest_webhook_max_req_per_min: int = Field(60, ge=1, le=100_000)
    dest_webhook_rate_limits: Annotated[str | None, AfterValidator(lambda v: v and _windows(v))] = (
        None
    )
    dest_webhook_rate_limiting_enabled: bool = True
    dest_webhook_signing_secret: SecretStr
    private_destinations: Networks = ()
    smtp_url: SecretStr | None = None
    heartbeat_url: SecretStr | None = None
    forwarding_workers: int = Field(5, ge=1, le=64)
    sell_reserved_share: float = Field(0.1, ge=0, le=0.9)

    top_n: int = Field(15, ge=1, le=1_000)
    finviz_url: str | None = None
    finviz_refresh_sec: OptionalSeconds = None
    finviz_slow_when_closed: bool = True
    finviz_use_elite: bool = False
    finviz_auth_token: SecretStr | None = None
    finviz_email: SecretStr | None = None
    finviz_password: SecretStr | None = None
    finviz_base_url: Origin | None = None
    finviz_config_file: Path = Path("finviz_config.json")
    finviz_user_agent: str | None = None
    list_max_age_sec: OptionalSeconds = None

    worker_concurrency: int = Field(16, ge=1, le=256)
    retention_days: int = Field(400, ge=1, le=3_650)
    queue_max_size: int = Field(100_000, ge=1, le=10_000_000)
    buy_ttl_sec: float = Field(30, gt=0, le=86_400)
    sell_ttl_sec: float = Field(600, gt=0, le=86_400)
    dedupe_window_sec: float = Field(30, ge=0, le=86_400)
    sell_policy: Literal["with_position", "always", "top_n"] = "with_position"

    @property
    def shutdown_grace(self) -> timedelta:
        return timedelta(seconds=self.shutdown_grace_sec)

    @property
    def connections(self) -> int:
        """How many connections to PostgreSQL a replica opens at most: its pools, and a listener."""
        return sum(self.pools.values()) + 1

    @property
    def pools(self) -> dict[str, int]:
        return {
            "intake": 2,
            "engines": min(self.worker_concurrency, 8) + 4,
            "pages": 4,
            "desk": 2,
            "live": 2,
        }

    @property
    def otel_headers(self) -> dict[str, str]:
        """`name=value,…`, as OpenTelemetry writes them: values may be percent-encoded."""
        given = self.otel_exporter_otlp_headers
        pairs = [
            one.partition("=") for one in (given.get_secret_value() if given else "").split(",")
        ]
        return {name.strip(): unquote(value.strip()) for name, found, value in pairs if found}

    @property
    def list_max_age(self) -> timedelta | None:
        return timedelta(seconds=self.list_max_age_sec) if self.list_max_age_sec else None

    @property
    def rate_windows(self) -> tuple[Window, ...] | None:
        """Windows an operator named; None when the destination's own default applies."""
        if not self.dest_webhook_rate_limiting_enabled:
            return ()
        if self.dest_webhook_rate_limits:
            return parse_windows(self.dest_webhook_rate_limits)
        if "dest_webhook_max_req_per_min" in self.model_fields_set:
            return (Window(limit=self.dest_webhook_max_req_per_min, seconds=60),)
        return None

    def shown(self) -> dict[str, str]:
        """Each by the name of its variable, for people: of a secret only whether there is one."""
        values = {name.upper(): getattr(self, name) for name in type(self).model_fields}
        return {name: _words(value) for name, value in values.items()}

    def handed(self) -> dict[str, object]:
        """What was given, secrets and all, as `taken` understands it: for our own processes."""
        return {name: _plain(getattr(self, name)) for name in self.model_fields_set}

    @classmethod
    def taken(cls, handed: dict[str, Any]) -> Self:
        """The same settings in another process, whatever the files say by now."""
        return cls(_env_file=None, **handed)  # pyright: ignore[reportCallIssue]  as in `load`

    def secrets(self) -> list[str]:
        """Values that must appear in no log line."""
        values = (getattr(self, name) for name in type(self).model_fields)
        return [v.get_secret_value() for v in values if isinstance(v, SecretStr)]


class _FromEnvironment(BaseSettings):
    model_config = SettingsConfigDict(extra="ignore", env_ignore_empty=True, env_file=ENV_FILE)


SECRETS = tuple(
    name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)
)

_Given = create_model(
    "_Given",
    __base__=_FromEnvironment,
    **cast(
        "dict[str, Any]",
        {name: (str | None, None) for one in SECRETS for name in (one, f"{one}_file")},
    ),
)


def _plain(value: object) -> object:
    match value:
        case SecretStr():
            return value.get_secret_value()
        case tuple():
            return [str(one) for one in value]  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]  networks
        case Path():
            return str(value)
        case _:
            return value


def _words(value: object) -> str:
    match value:
        case None | ():
            return "not set"
        case SecretStr():
            return "set, not shown"
        case bool():
            return str(value).lower()
        case tuple():
            return ", ".join(map(str, value))  # pyright: ignore[reportUnknownArgumentType]  networks
        case _:
            return str(value)


def load(**overrides: object) -> Settings:
    """Read the environment, then `.env`, then `DATA_DIR/secrets.env`; raise SettingsError.

    ``overrides`` win over all three; a test or the demo hands in what it needs. A secret may also
    stand in a file of its own, named by NAME_FILE in the environment or `.env`.
    """
    try:
        files = (_data_dir(overrides) / SECRETS_FILE, Path(ENV_FILE))
        given = _in_own_files() | overrides
        settings = Settings(_env_file=files, **given)  # pyright: ignore[reportCallIssue]  pydantic-settings takes any field by name
    except UnicodeDecodeError:
        raise SettingsError(f"{ENV_FILE} or {SECRETS_FILE} is not UTF-8: save it as that") from None
    except ValidationError as error:
        raise SettingsError(_one_line(error)) from None
    _check_together(settings)
    return settings


def _in_own_files() -> dict[str, str]:
    """The secrets that NAME_FILE says where to read, as Docker and systemd hand them over."""
    found: dict[str, str] = {}
    given = _Given().model_dump()
    for name in SECRETS:
        if (path := given[f"{name}_file"]) is None:
            continue
        variable = f"{name.upper()}_FILE"
        if given[name] is not None:
            raise SettingsError(f"{variable}: {name.upper()} is set too: keep one of them")
        try:
            found[name] = Path(path).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not text"
            raise SettingsError(f"{variable}: cannot be read: {why}") from None
        if not found[name]:
            raise SettingsError(f"{variable}: the file is empty")
    return found


def _data_dir(overrides: dict[str, object]) -> Path:
    class Where(BaseSettings):
        model_config = SettingsConfigDict(extra="ignore", env_file=ENV_FILE)
        data_dir: Path = Path("data")

    given = overrides.get("data_dir")
    return Path(os.fspath(given)) if isinstance(given, str | Path) else Where().data_dir


def _one_line(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    name = str(first["loc"][0]).upper() if first["loc"] else "settings"
    if first["type"] == "missing":
        return f"{name} is not set: `python run.py` generates it"
    words = first["msg"].removeprefix("Value error, ").replace("Input should", "should")
    return f"{name}: {words}{_allowed(name.lower())}"


def _allowed(name: str) -> str:
    """The range a number must be in, as far as its field states one."""
    field = Settings.model_fields.get(name)
    bounds = [bound for one in (field.metadata if field else ()) for bound in _bounds(one)]
    return f" (allowed: {', '.join(bounds)})" if bounds else ""


def _bounds(constraint: object) -> list[str]:
    signs = {"gt": "more than", "ge": "from", "le": "to"}
    return [
        f"{words} {getattr(constraint, sign)}"
        for sign, words in signs.items()
        if hasattr(constraint, sign)
    ]


def _check_together(settings: Settings) -> None:
    _check_elite(settings)
    _check_different(settings)
    if settings.database_owner_url and not settings.database_url:
        raise SettingsError("DATABASE_OWNER_URL goes with DATABASE_URL, on the same server")
    if settings.allow_unauthenticated_ingress and not _is_loopback(settings.host):
        raise SettingsError(
            "ALLOW_UNAUTHENTICATED_INGRESS: true is accepted only with a loopback HOST "
            "(127.0.0.1, ::1, localhost)"
        )


def _check_different(settings: Settings) -> None:
    """Who has one secret must not have another by it."""
    names = ("webhook_token", "finviz_update_token", "admin_token", "encryption_key")
    known: dict[str, str] = {}
    for name in (*names, "encryption_key_old", "dest_webhook_signing_secret"):
        secret: SecretStr | None = getattr(settings, name)
        value = secret.get_secret_value() if secret else None
        if value in known:
            other = known[value].upper()
            raise SettingsError(f"{name.upper()}: is the same as {other}: each needs its own")
        if value is not None:
            known[value] = name


def _check_elite(settings: Settings) -> None:
    signs_in = settings.finviz_email is not None
    if signs_in != (settings.finviz_password is not None):
        raise SettingsError("FINVIZ_EMAIL and FINVIZ_PASSWORD go together")
    if settings.finviz_use_elite != (signs_in or settings.finviz_auth_token is not None):
        raise SettingsError(
            "FINVIZ_USE_ELITE goes together with FINVIZ_AUTH_TOKEN, or else with FINVIZ_EMAIL and"
            " FINVIZ_PASSWORD: Elite is read by its export token, or as who signed in"
        )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
