"""The list source: is Finviz read as this version knows it? What it answers can be saved."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeAlias, cast

import httpx
from aiolimiter import AsyncLimiter

from config import Settings
from domain.screen import EXAMPLE_URL, Screen, ScreenUrl, parse_screen_url
from domain.universe import FetchOutcome
from engines.clock import utc_now
from engines.universe import config_file
from engines.universe.finviz import DEADLINE, ELITE, FREE, USER_AGENT, one_a_second
from engines.universe.finviz_http import Reply, Visitor, asking
from engines.universe.finviz_probe import FINAL, NAMES, Probe, Sample
from launcher.doctor import clock
from launcher.doctor.findings import LIST, Finding, Grade
from launcher.redactor import HIDDEN, Redactor
from launcher.terminal import Refusal

Redact: TypeAlias = Callable[[str], str]

SUMMARY = "summary.json"
SAVE = "docs/operations.md, What the page says; --save-pages DIR saves the answers for an issue"
KINDS = ("html", "csv", "json")
COOKIES = frozenset({"set-cookie", "set-cookie2", "cookie"})
PRIVATE = (
    re.compile(r"(?i)(userToken(?:&quot;|&#34;|value|[\"'\s:=])*)[\w.~+/%-]{6,}"),
    re.compile(r"()\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"),  # as a token is
    re.compile(r"()(?<![\w.+-])[\w.+-]{1,64}(?:@|%40|&#64;|\\u0040)[\w-]+(?:\.[\w-]+)+"),
    re.compile(r"()\b(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b"),  # a refusal may tell our own address
    re.compile(r"()(?i:\b(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}\b)"),
    re.compile(r"()(?i:\b(?:[0-9a-f]{1,4}:){2,6}(?::[0-9a-f]{1,4}){1,6}\b)"),
)
"""What Finviz may tell of the person who asks. The group is what stays."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What was asked of Finviz, in lines; whether all is as expected; who said what time when."""

    fine: bool
    verdict: str
    lines: Sequence[str]
    times: Sequence[Finding]


async def examine(
    settings: Settings,
    url: ScreenUrl,
    folder: "Folder | None" = None,
    *,
    transport: httpx.AsyncBaseTransport | None = None,
    spacing: Callable[[], AsyncLimiter] = one_a_second,
    step: Callable[[str], None] = lambda _: None,
) -> Looked:
    """Ask for one answer of each kind; save them in ``folder``; say which is as expected.

    ``step`` is told each name when it is there. Raises OSError of the folder.
    """
    redact = redactor(settings)
    report = Report(folder, redact, step)
    samples = await _ask(settings, url, report, transport, spacing())
    fine, verdict = _verdict(samples)
    if folder:
        folder.summarise(url, samples, verdict)
    left = f"{'not asked':<12} {', '.join(not_asked(samples)) or 'nothing'}"
    return Looked(fine, verdict, (*report.lines, left), report.times)


def finding(looked: Looked, save: Path | None) -> Finding:
    """All of it as one finding, with each answer below it."""
    grade = Grade.OK if looked.fine else Grade.FAILS
    todo = "" if looked.fine or save else SAVE
    return Finding(LIST.name, "Finviz", grade, looked.verdict, todo, (*looked.lines, *_where(save)))


def screen_url(settings: Settings) -> ScreenUrl:
    """That of the first start. Raises ScreenError."""
    url = parse_screen_url(settings.finviz_url or EXAMPLE_URL)
    first = Screen(url=url, top_n=settings.top_n, refresh=timedelta(minutes=3))
    return config_file.read(settings.finviz_config_file, first).url or EXAMPLE_URL


def redactor(settings: Settings) -> Redact:
    known = Redactor(settings.secrets())

    def redact(text: str) -> str:
        text = known(text)
        for pattern in PRIVATE:
            text = pattern.sub(rf"\1{HIDDEN}", text)
        return text

    return redact


async def _ask(
    settings: Settings,
    url: ScreenUrl,
    report: "Report",
    transport: httpx.AsyncBaseTransport | None,
    spacing: AsyncLimiter,
) -> list[Sample]:
    async with asking(settings.finviz_base_url, transport) as http:
        visitor = Visitor(
            http=http,
            spacing=spacing,
            user_agent=settings.finviz_user_agent or USER_AGENT,
            deadline=DEADLINE,
            clock=utc_now,
            answered=lambda: None,
        )
        token = settings.finviz_auth_token
        probe = Probe(
            visitor=visitor,
            pages=settings.finviz_base_url or FREE,
            exports=settings.finviz_base_url or ELITE,
            token=token.get_secret_value() if token else None,
        )
        samples: list[Sample] = []
        async with aclosing(probe.samples(url)) as coming:
            asked = utc_now()
            async for sample in coming:
                samples.append(sample)
                report.add(sample, asked)
                asked = utc_now()
        return samples


# ── What a person reads ─────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Report:
    """Notes each answer when it is there, and saves it where there is a folder."""

    folder: "Folder | None"
    redact: Redact
    step: Callable[[str], None]
    lines: list[str] = field(default_factory=list[str])
    times: list[Finding] = field(default_factory=list[Finding])

    def add(self, sample: Sample, asked: datetime) -> None:
        self.lines.append(self.redact(line(sample)))
        self.step(sample.question.name)
        date = sample.reply.headers.get("date") if sample.reply else None
        if date and (told := clock.header(asked, date, utc_now())):
            self.times.append(told)
        if self.folder:
            self.folder.save(sample)


def line(sample: Sample) -> str:
    question, page = sample.question, sample.page
    words = page.why
    if page.kind is FetchOutcome.OK:
        from_row = f" from row {page.start}" if page.start != 1 else ""
        rows = f"{len(page.rows)} of {page.total} rows{from_row}"
        words = ", ".join(part for part in (rows, page.witness, page.why) if part)
    if not sample.as_expected:
        words += f" (expected: {_expected(sample)})"
    return f"{question.name:<12} {page.kind:<12} {words}"


def not_asked(samples: Sequence[Sample]) -> list[str]:
    asked = {sample.question.name for sample in samples}
    return [name for name in NAMES if name not in asked]


def _expected(sample: Sample) -> str:
    kinds = sorted(sample.question.expected, reverse=True)
    ok = f"ok from row {sample.question.start}"
    return " or ".join(ok if kind is FetchOutcome.OK else kind for kind in kinds)


def _verdict(samples: Sequence[Sample]) -> tuple[bool, str]:
    """Whether all is as expected, and the one sentence on it."""
    other = [one for one in samples if not one.as_expected and one.page.kind not in FINAL]
    names = ", ".join(sample.question.name for sample in other)
    if other:
        return False, f"Not what this version knows: {names}. Finviz may have changed its pages."
    last = samples[-1].page.kind
    if last in FINAL:
        return False, f"Finviz did not let us ask ({last}): nothing can be said of its pages."
    return True, "Finviz answers as this version knows it."


def _where(save: Path | None) -> list[str]:
    return [f"The answers are in {save}, without secrets, to attach to an issue."] if save else []


# ── What is saved ───────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Folder:
    """Where one run is saved: NAME.html or NAME.csv as it came, NAME.json on it, and a summary."""

    path: Path
    redact: Redact

    @classmethod
    def made(cls, path: Path, redact: Redact, *, force: bool) -> "Folder":
        """Make it, or take one that is empty. Raises Refusal for one that is not, unless forced."""
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(path.iterdir()) and not force:
            raise Refusal(f"--save-pages: {path} is not empty; --force replaces what is in it.", 2)
        for name in (SUMMARY, *(f"{one}.{kind}" for one in NAMES for kind in KINDS)):
            (path / name).unlink(missing_ok=True)
        return cls(path, redact)

    def save(self, sample: Sample) -> None:
        name, about = sample.question.name, told(sample)
        if sample.reply:
            body = self._body(sample.reply)
            about["file"] = f"{name}.{'csv' if sample.question.export else 'html'}"
            about |= {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
            self._write(str(about["file"]), body)
        self._write_json(f"{name}.json", about)

    def summarise(self, url: ScreenUrl, samples: Sequence[Sample], verdict: str) -> None:
        about: dict[str, object] = {
            "at": utc_now().isoformat(timespec="seconds"),
            "screen": url,
            "verdict": verdict,
            "not_asked": not_asked(samples),
            "answers": {
                one.question.name: {
                    "kind": str(one.page.kind),
                    "as_expected": one.as_expected,
                    "line": line(one),
                }
                for one in samples
            },
        }
        self._write_json(SUMMARY, about)

    def _body(self, reply: Reply) -> bytes:
        text = reply.body.decode(errors="surrogateescape")
        return self.redact(text).encode(errors="surrogateescape")

    def _write_json(self, name: str, about: Mapping[str, object]) -> None:
        text = json.dumps(_redacted(about, self.redact), indent=2, ensure_ascii=False)
        self._write(name, f"{text}\n".encode())

    def _write(self, name: str, content: bytes) -> None:
        descriptor = os.open(self.path / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)


def told(sample: Sample) -> dict[str, object]:
    """What an answer says of itself, and what was read from it."""
    page, reply, tickers = sample.page, sample.reply, sample.page.tickers
    return {
        "name": sample.question.name,
        "asked": sample.question.url,
        "expected": _expected(sample),
        "as_expected": sample.as_expected,
        "status": reply.status if reply else None,
        "headers": _without_cookies(reply.headers) if reply else {},
        "kind": str(page.kind),
        "why": page.why,
        "complete": page.complete,
        "total": page.total,
        "rows": len(page.rows),
        "first": tickers[0] if tickers else None,
        "last": tickers[-1] if tickers else None,
        "start": page.start,
        "step": page.step,
        "witness": page.witness,
        "premium": page.premium,
    }


def _without_cookies(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in COOKIES}


def _redacted(value: object, redact: Redact) -> object:
    """The texts are redacted one by one: in finished JSON that could break it, or be hidden."""
    if isinstance(value, Mapping):
        texts = cast("Mapping[str, object]", value)
        return {key: _redacted(one, redact) for key, one in texts.items()}
    return redact(value) if isinstance(value, str) else value
