"""Logs: one object a line, whatever is put in, and no secret in any spelling."""

import base64
import json
import logging
import stat
import sys
import threading
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher import redactor
from launcher.logs import JsonLines, Redactor, ShortLines, written

SECRET = 'p"ä/ss word\\1'
URL = "postgresql+asyncpg://relay:db-Password@db/relay"


def record(event: str, **extra: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "engines.test", "levelname": "INFO", "msg": event})
    vars(made).update(extra)
    return made


def rendered(event: str, *secrets: str, **extra: object) -> dict[str, object]:
    line = JsonLines(Redactor(secrets)).format(record(event, **extra))
    assert "\n" not in line
    return json.loads(line)


def test_a_line_has_its_time_level_logger_event_and_fields() -> None:
    line = rendered("signal.judged", signal_id="7", age_sec=0.5, ok=True, none=None)
    assert str(line.pop("ts")).endswith("+00:00")
    assert line == {
        "level": "INFO",
        "logger": "engines.test",
        "event": "signal.judged",
        "signal_id": "7",
        "age_sec": 0.5,
        "ok": True,
        "none": None,
    }


@pytest.mark.parametrize(
    "spelling", [SECRET, quote(SECRET, safe=""), json.dumps(SECRET), repr({"x": SECRET})]
)
def test_a_secret_is_hidden_in_every_spelling(spelling: str) -> None:
    line = rendered(f"sent {spelling}!", SECRET, field={"nested": spelling})
    for value in (str(line["event"]), str(line["field"])):
        assert "•••" in value
        assert "ss word" not in value
        assert "ss%20word" not in value


@pytest.mark.parametrize(
    "spelling",
    [
        base64.b64encode(SECRET.encode()).decode(),
        SECRET.encode().hex(),
        f"/hook/{SECRET}",
        json.dumps({"x": json.dumps(SECRET)}),
    ],
)
def test_a_secret_is_hidden_in_other_codes_too(spelling: str) -> None:
    line = rendered(f"sent {spelling}!", SECRET, field=spelling)
    assert spelling not in str(line)
    assert "•••" in str(line["event"])


@pytest.mark.parametrize(
    ("kept", "text", "shown"),
    [
        (b"https://x.example/hook/abc12345?k=v", "at /hook/abc12345?k=v", "at •••"),
        (b"https://x.example/hook/abc12345?k=v", "abc12345 failed", "••• failed"),
        (b"https://x.example/hook", "POST /hook", "POST /hook"),
        (b'{"authorization": "Bearer 12345678abc"}', "got 12345678abc", "got •••"),
        (b'{"kind": "market"}', "a market closes", "a market closes"),
        (b"\xff\xfe" * 16, f"key {base64.b64encode(bytes([255, 254]) * 16).decode()}", "key •••="),
        (b"smtp://me:p%40ssword@mail.example:25", "refused p@ssword", "refused •••"),
    ],
)
def test_secrets_of_the_database_are_known_once_they_passed(
    kept: bytes, text: str, shown: str
) -> None:
    """H16: addresses, headers, constants, channels and keys, by the vault (`Vault.conceal`)."""
    redact = Redactor([])
    redact.add(kept)
    assert redact(text) == shown


def test_many_secrets_cost_no_more_and_the_oldest_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(redactor, "MOST", 20)
    redact = Redactor(["the-setting-1"])
    for number in range(21):
        redact.add(f"secret-number-{number:05}".encode())
    assert redact("secret-number-00020 the-setting-1") == "••• •••"
    assert redact("secret-number-00000") == "secret-number-00000"


def test_exceptions_that_nobody_caught_go_into_the_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """H16: Python would print them to stderr as they are; chained ones are in the trace too."""

    def fail() -> None:
        try:
            int("inner a-long-secret")
        except ValueError as error:
            raise RuntimeError("outer a-long-secret") from error

    with written(tmp_path, secrets=["a-long-secret"], level="DEBUG") as path:
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
        logging.getLogger("py.warnings").warning("deprecated a-long-secret")
        logging.getLogger("asyncio").error("task a-long-secret")
        logging.getLogger("test").info("%d of them", "a-long-secret")
        try:
            fail()
        except RuntimeError:
            sys.excepthook(*sys.exc_info())  # pyright: ignore[reportArgumentType]  as Python does
    text = path.read_text() + capfd.readouterr().err
    assert "a-long-secret" not in text
    told = [json.loads(line) for line in path.read_text().splitlines()]
    assert "inner •••" in told[0]["exception"]
    assert "outer •••" in told[0]["exception"]
    assert [line["logger"] for line in told] == ["launcher.logs", "py.warnings", "asyncio"]
    assert "log.failed: a line of test was not written (TypeError)" in text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "text",
    [
        *("a\r\nb", '{"level":"ERROR"}\n', "\x1b[2J\x1b]0;title\x07", "\u2028\u2029\x85", "\x00"),
        *("\ud800", '","event":"forged', "\\", "%s %(x)s {0}", "x" * 100_000),
    ],
)
def test_no_input_breaks_a_line(text: str, tmp_path: Path) -> None:
    """H17: as many lines as events, each of them JSON, short, without control characters."""
    with written(tmp_path, secrets=[], level="INFO") as path:
        for _ in range(3):
            logging.getLogger("test").info(text, extra={"ticker": text})
    lines = path.read_bytes().splitlines()
    assert [json.loads(line)["ticker"][:512] for line in lines] == [text[:512]] * 3
    assert all(32 <= byte < 127 for line in lines for byte in line)
    assert max(map(len, lines)) < 8_000


def test_the_password_inside_a_secret_address_is_hidden_alone_too() -> None:
    assert rendered("wrong db-Password given", URL)["event"] == "wrong ••• given"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET https://x/export?v=111&auth=abc123&f=1", "GET https://x/export?v=111&auth=•••&f=1"),
        ("POST /webhook/in/some-token HTTP", "POST /webhook/in/••• HTTP"),
        ("POST /webhook/in HTTP", "POST /webhook/in HTTP"),
    ],
)
def test_tokens_in_addresses_are_hidden_though_nobody_named_them(text: str, shown: str) -> None:
    assert rendered(text)["event"] == shown


def test_a_cut_does_not_let_half_a_secret_through() -> None:
    event = str(rendered("x" * 505 + "secret-token-value", "secret-token-value")["event"])
    assert event == "x" * 505 + "•••"
    assert len(str(rendered("y", long="z" * 9_000)["long"])) == 513


def test_an_exception_is_one_field_without_secrets() -> None:
    with pytest.raises(ValueError, match="literal") as raised:
        int(f"{SECRET}\x1b[31m")
    failed = record("it failed", exc_info=(raised.type, raised.value, raised.tb))
    line = json.loads(JsonLines(Redactor([SECRET])).format(failed))
    assert "ValueError: invalid literal" in line["exception"]
    assert "ss word" not in line["exception"]
    short = ShortLines(Redactor([SECRET])).format(failed)
    assert "•••" in short
    assert "\x1b" not in short


def test_a_terminal_line_cannot_be_forged_or_steer_the_terminal() -> None:
    line = ShortLines(Redactor([])).format(record("one\ntwo\x1b[2J\r\x9b", ticker="A\nB"))
    assert line.splitlines() == [line]
    assert "one two\\x1b[2J\\x0d\\x9b ticker=A B" in line


@given(
    before=st.text(),
    after=st.text(),
    secret=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=6),
)
def test_no_text_around_a_secret_saves_it(before: str, after: str, secret: str) -> None:
    line = rendered(before + secret + after, secret, field=after + secret + before)
    assert secret not in str(line["event"])
    assert secret not in str(line["field"])


def test_blank_and_short_secrets_do_not_hide_the_whole_log() -> None:
    assert rendered("nothing to hide", "", "no")["event"] == "nothing to hide"


def test_the_file_gets_every_record_and_the_old_set_up_comes_back(tmp_path: Path) -> None:
    root = logging.getLogger()
    before = root.handlers, root.level
    with written(tmp_path / "logs", secrets=["a-long-secret"], level="INFO") as path:
        for number in range(100):
            logging.getLogger("test").info("n %d a-long-secret", number)
        logging.getLogger("httpx").info("GET something")
    assert not logging.getLogger("test").isEnabledFor(logging.INFO), "it has forgotten"
    lines = [json.loads(each) for each in path.read_text().splitlines()]
    assert [each["event"] for each in lines] == [f"n {number} •••" for number in range(100)]
    assert (root.handlers, root.level) == before


def test_a_second_process_on_the_same_folder_writes_its_own_file(tmp_path: Path) -> None:
    with (
        written(tmp_path, secrets=[], level="INFO") as first,
        written(tmp_path, secrets=[], level="INFO") as second,
    ):
        assert first.name == "relay.log"
        assert second != first
