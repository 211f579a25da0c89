"""Settings: read once from the environment, by main and the launcher, and handed out in pieces."""

import ipaddress
import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from domain.rate import Window, parse_windows

WEAK = ("changeme", "your-secure-token", "secret", "password", "postgres", "admin", "test-token")
SECRETS_FILE = "secrets.env"
ENV_FILE = ".env"

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class SettingsError(ValueError):
    """One line: the variable, what is wrong with its value, what is allowed."""


def _strong(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if len(text) < 32:
        raise ValueError("is too short: at least 32 characters, as `python run.py` generates them")
    if any(weak in text.lower() for weak in WEAK) or len(set(text)) < 8:
        raise ValueError("is a known weak value: remove it and `python run.py` generates one")
    return value


def _comma_list(value: object) -> object:
    return (
        [part.strip() for part in value.split(",") if part.strip()]
        if isinstance(value, str)
        else value
    )


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


Token: TypeAlias = Annotated[SecretStr, AfterValidator(_strong)]
Origin: TypeAlias = Annotated[str, AfterValidator(_origin)]
Networks: TypeAlias = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_comma_list)]
OptionalSeconds: TypeAlias = Annotated[float, Field(ge=1, le=86_400)] | None


class Settings(BaseSettings):
    """Every setting an operator has, named as in `.env.example`, which explains each."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True
    )

    database_url: Annotated[SecretStr, AfterValidator(_asyncpg)] | None = None
    data_dir: Path = Path("data")
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65_535)
    public_url: Origin | None = None
    trusted_proxies: Networks = ()
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    shutdown_grace_sec: float = Field(10, ge=0, le=300)

    webhook_token: Token
    finviz_update_token: Token
    admin_token: Token
    allow_unauthenticated_ingress: bool = False
    encryption_key: SecretStr
    session_idle_min: int = Field(30, ge=1, le=1_440)
    session_max_h: int = Field(12, ge=1, le=168)

    dest_webhook_url: SecretStr | None = None
    dest_webhook_max_req_per_min: int = Field(60, ge=1, le=100_000)
    dest_webhook_rate_limits: Annotated[str | None, AfterValidator(lambda v: v and _windows(v))] = (
        None
    )
    dest_webhook_rate_limiting_enabled: bool = True
    dest_webhook_signing_secret: SecretStr
    private_destinations: Networks = ()
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

    def secrets(self) -> list[str]:
        """Values that must appear in no log line."""
        values = (getattr(self, name) for name in type(self).model_fields)
        return [v.get_secret_value() for v in values if isinstance(v, SecretStr)]


def load(**overrides: object) -> Settings:
    """Read the environment, then `.env`, then `DATA_DIR/secrets.env`; raise SettingsError.

    ``overrides`` win over all three; a test or the demo hands in what it needs.
    """
    files = (_data_dir(overrides) / SECRETS_FILE, Path(ENV_FILE))
    try:
        settings = Settings(_env_file=files, **overrides)  # pyright: ignore[reportCallIssue]  pydantic-settings takes any field by name
    except ValidationError as error:
        raise SettingsError(_one_line(error)) from None
    _check_together(settings)
    return settings


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
    if settings.allow_unauthenticated_ingress and not _is_loopback(settings.host):
        raise SettingsError(
            "ALLOW_UNAUTHENTICATED_INGRESS: true is accepted only with a loopback HOST "
            "(127.0.0.1, ::1, localhost)"
        )


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
