import itertools
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.alert import Invalid, Parsed, parse
from domain.body import MASK, cut_token, has_secrets, masked, outgoing

OURS = "our-own-ingress-token"

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.just(OURS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(["token", "secret", "signal_id", "received_at", "Token", "a"]) | st.text()
objects = st.dictionaries(names, values, max_size=6)
layouts = st.sampled_from(
    [
        {"indent": 2},
        {"separators": (",", ":")},
        {"ensure_ascii": False, "separators": (" ,\n", "\t: ")},
    ]
)


def is_ours(token: str) -> bool:
    return token == OURS


def written(fields: dict[str, Any], layout: dict[str, Any]) -> bytes:
    return json.dumps(fields, **layout).encode("utf-8", "replace")


@given(objects, layouts, st.sampled_from(["", "\ufeff"]), st.sampled_from(["", " \n"]))
def test_exactly_our_token_is_cut(
    fields: dict[str, Any], layout: dict[str, Any], bom: str, end: str
) -> None:
    body = bom.encode() + written(fields, layout) + end.encode()
    rest, found = cut_token(body, is_ours)
    fields = json.loads(body.decode("utf-8-sig"))
    kept = {n: v for n, v in fields.items() if n not in ("token", "secret") or v != OURS}
    assert json.loads(rest.decode("utf-8-sig")) == kept
    assert found == (kept != fields)
    assert found or rest == body
    assert rest.startswith(bom.encode())
    assert rest.endswith(end.encode())


PARTS = st.sampled_from(
    [
        *("token=T", "secret=T", " token=T", "token=T ", "%74oken=T", "token", "=T", "a=1"),
        *('{"token":"T"}', '{"a":1,"token":"T"}', "{}", "\ufeff", " ", "\n", "&", ""),
    ]
)


@given(st.lists(st.tuples(PARTS, st.sampled_from(["&", ""])), max_size=7))
def test_all_of_it_is_cut_at_once(parts: list[tuple[str, str]]) -> None:
    body = "".join(itertools.chain(*parts)).encode()
    rest, found = cut_token(body, lambda token: token == "T")
    assert cut_token(rest, lambda token: token == "T") == (rest, False)
    assert found or rest == body


@pytest.mark.parametrize(
    ("body", "rest"),
    [
        (b'{"token":"T","a":1}', b'{"a":1}'),
        (b'{ "token" : "T" ,\n "a":1.0e0 }', b'{ "a":1.0e0 }'),
        (b'{"a":"\\u00e9",\n "token":"T",\n "b":2}', b'{"a":"\\u00e9",\n "b":2}'),
        (b'{"a":1, "token":"T"}\n', b'{"a":1}\n'),
        (b"token=T& token=T&a=1", b"a=1"),
        (b"token=T&\xef\xbb\xbfsecret=T&a=1", b"a=1"),
        (b"a=1&token=T \n&b=2&token=T", b"a=1&token=T \n&b=2"),
        (b"a=1&token=T \n&token=T", b"a=1"),
        (b'token=T&{"secret":"T"}', b"{}"),
        (b'{"token":"T"}', b"{}"),
        (b'{"token":"T","secret":"T","a":1,"token":"T"}', b'{"a":1}'),
        (b'{"secret":"T","token":"T"}', b"{}"),
        (b'{"t\\u006fken":"\\u0054","a":1}', b'{"a":1}'),
        (b"ticker=AAPL&token=T&side=buy", b"ticker=AAPL&side=buy"),
        (b"token=T&ticker=AAPL\n", b"ticker=AAPL\n"),
        (b"\xef\xbb\xbf secret=%54&a=b", b"\xef\xbb\xbf a=b"),
        (b"a=b&token=T\r\n", b"a=b\r\n"),
    ],
)
def test_a_token_takes_its_separator_along(body: bytes, rest: bytes) -> None:
    assert cut_token(body, lambda token: token == "T") == (rest, True)


@pytest.mark.parametrize(
    "body",
    [
        b'{"token":"X","a":"T"}',
        b'{"a":{"token":"T"}}',
        b'[{"token":"T"}]',
        b'{"token":"T",}',
        b'{"token":"T"} {"a":1}',
        b'{"token":"T","a":NaN}',
        b'{"token":"T"',
        b'\xff{"token":"T"}',
        b"the token is T",
        b"",
    ],
)
def test_everything_else_stays(body: bytes) -> None:
    assert cut_token(body, lambda token: token == "T") == (body, False)


@given(st.binary())
def test_no_bytes_are_too_odd(body: bytes) -> None:
    assert cut_token(body, is_ours) == (body, False)
    assert masked(body, limit=3) in masked(body)
    assert isinstance(masked(body), str)


@given(objects, layouts)
def test_an_object_goes_out_with_two_members_more(
    fields: dict[str, Any], layout: dict[str, Any]
) -> None:
    body = written(fields, layout)
    fields = json.loads(body)
    out = outgoing(body, signal_id='an "id"', received_at="2030-01-02T15:04:05Z")
    ours = {"signal_id": 'an "id"', "received_at": "2030-01-02T15:04:05Z"}
    assert json.loads(out) == ours | fields
    assert list(json.loads(out))[: len(fields)] == list(fields)
    assert out == outgoing(body, signal_id='an "id"', received_at="2030-01-02T15:04:05Z")
    brace = body.rindex(b"}")
    assert out.startswith(body[:brace])
    assert out.endswith(body[brace:])


@pytest.mark.parametrize(
    ("body", "out"),
    [
        (b"{}", b'{"signal_id": "i", "received_at": "t"}'),
        (b'{"a":1e2\n}\n', b'{"a":1e2\n,"signal_id": "i", "received_at": "t"}\n'),
        (b'{"signal_id":7}', b'{"signal_id":7,"received_at": "t"}'),
        (b'\xef\xbb\xbf{"signal_id":7,"received_at":8}', b'{"signal_id":7,"received_at":8}'),
        (b"[1]", b"[1]"),
        (b"order buy @ 1 filled on AAPL", b"order buy @ 1 filled on AAPL"),
        (b'{"a":\xff}', b'{"a":\xff}'),
    ],
)
def test_only_objects_are_added_to(body: bytes, out: bytes) -> None:
    assert outgoing(body, signal_id="i", received_at="t") == out


@pytest.mark.parametrize(
    "body",
    [
        '{"secret":"hunter2"}',
        '{"a":{"b":[{"API key" : "hunter2"}]}}',
        '{"passphrase":"a\\"hunter2"}',
        '{"s\\u0065cret":"hunter2"}',
        '{"key":6787hunter2}',
        '{"auth":{"user":"hunter2"}}',
        '{"token":["hunter2"]}',
        '{"message":"{\\"api_token\\":\\"hunter2\\",\\"a\\":1}"}',
        '{"message":"{\\"m\\":\\"{\\\\\\"key\\\\\\":\\\\\\"hunter2\\\\\\"}\\"}"}',
        '{"url":"https://example.test/in?a=1&token=hunter2"}',
        '{"text":"first line\\ntoken=hunter2"}',
        '{"Authorization":"Bearer hunter2"}',
        "Authorization: Bearer hunter2",
        "ticker=AAPL&apikey=hunter2&side=buy",
        "a=b&%74oken=hunter2",
        "SYMBOL=AAPL\nPASSWORD=hunter2\n",
        "{'token': 'hunter2'}",
        "{“webhookSecret”: “hunter2”}",
        '{"secret":"hunter2',
        '{"secret":"x\\hunter2',
        '{"auth":{"user":"hunter2"',
        '{"token" : hunter2, "ticker": "AAPL"}',
        '\ufeff{"client_secret"\n:\n"hunter2"}',
    ],
)
def test_secrets_are_masked_wherever_they_stand(body: str) -> None:
    shown = masked(body.encode())
    assert "hunter2" not in shown
    assert MASK in shown
    assert has_secrets(Parsed(body, None))


def test_a_secret_in_bytes_that_are_no_utf8_is_masked() -> None:
    assert masked(b'{"note":"caf\xe9","token":"hunter2"}') == '{"note":"caf\ufffd","token":"•••"}'


@pytest.mark.parametrize(
    "body",
    [
        '{"ticker":"AAPL","action":"buy","price":"195.5"}',
        '{"token":"","secret":null,"auth":false}',
        "ticker=AAPL&side=buy",
        "RSI: order buy @ 33.33 filled on SOLUSDT. New strategy position is 100",
        "",
    ],
)
def test_what_holds_no_secret_is_shown_as_it_came(body: str) -> None:
    assert masked(body.encode()) == body
    assert not has_secrets(Parsed(body, None))


def test_what_could_not_be_read_counts_as_secret() -> None:
    unread = parse(b"\xff")
    assert isinstance(unread, Invalid)
    assert has_secrets(unread)


def test_only_the_beginning_is_shown_and_a_secret_cut_in_two_is_not() -> None:
    assert masked(b"x" * 100, limit=10) == "x" * 10
    assert masked("é".encode() * 100, limit=10) == "é" * 10
    assert masked(b'{"token":"hunter2-and-more"}', limit=14) == '{"token":"•••'


@given(st.text(alphabet="abc\"'\\{}[]:,=& \n", max_size=20), st.text(max_size=10))
def test_a_quoted_secret_is_masked_behind_anything(before: str, after: str) -> None:
    body = f'{before}"token":"hunter2"{after}'
    assert "hunter2" not in masked(body.encode("utf-8", "replace"))


@pytest.mark.parametrize(
    "piece",
    [
        '"',
        "\\",
        '\\"',
        '"secret":"',
        '"secret":',
        '\\"secret\\":\\"',
        "a ",
        "a",
        " ",
        "token=",
        "token:{",
        "[",
        '{"auth":',
        "\\u0061",
        "'",
        "token=\\",
        '"a":"b",',
        "Bearer ",
    ],
)
def test_no_body_takes_long(piece: str) -> None:
    body = (piece * (65_536 // len(piece) + 1))[:65_536].encode()
    started = time.process_time()
    masked(body, limit=65_536)
    has_secrets(Parsed(body.decode(), None))
    cut_token(body + b"token", is_ours)
    outgoing(body, signal_id="i", received_at="t")
    assert time.process_time() - started < 1
