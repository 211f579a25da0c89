"""Words that alerts are made of, and texts that have broken programs before."""

import json

NAMES = (
    *("ticker", "symbol", "action", "side", "type", "sentiment", "market_position", "data"),
    *("prev_market_position", "position_size", "price", "close", "time", "timenow", "strategy"),
    *("order", "message", "size", "id", "alert_id", "token", "secret", "password", "api_key"),
    *(
        "Token",
        "to\u212aen",
        "exchange",
        "signal_id",
        "received_at",
        "closePosition",
        "\ufeffticker",
    ),
)
VALUES: tuple[object, ...] = (
    *("buy", "sell", "exit", "long", "short", "flat", "close_long", "cancel", "add", "NYSE:BRK.B"),
    *("AAPL", "{{ticker}}", "%x%", "2026-03-17T17:30:00Z", "2026-03-17T17:30:00+14:00", "0", "-5"),
    *("1773768600000", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "1e99", "33%"),
    *("\ud800", "\0", "\u202e", "\u2028", "\x1b[2J", "\r\n", "' OR 1=1--", "<script>", "../..", ""),
    *("9" * 5_000, "A" * 40, "1e-99", ".00000000000000000001", "NaN", "Infinity", "\u0661\u0662"),
    *(0, -1, 1e308, 2**64, 10**30, True, False, None),
    *map(json.loads, ("[]", "{}", "[[]]", '[{"ticker": "B"}]', '{"a": {"a": {"a": {}}}}')),
    *("abcdefghijklmnopqrst", '{"ticker":', "order buy @ filled on A"),
)
HOSTILE = (
    *(
        b"\0",
        b"\xff",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xc0\xaf",
        b"\xef\xbb\xbf",
        b"\\ud800",
    ),
    *(
        b"\\u0000",
        b"\\u0022",
        b"%22",
        b"%00",
        b"%ff",
        b"&",
        b"=",
        b"{",
        b"[",
        b'"',
        b"\\",
        b"}",
        b"]",
    ),
    *(b"token=", b'"token":', b'"secret":"', b"1e999", b"NaN", b"-", b"9" * 400, b"\xe2\x80\x9c"),
    *(b"[" * 200, b'{"a":' * 100, b'"a":1,' * 250, b"token\\u003d", b"\\\\\\\\\\\\", b" " * 300),
    *(
        b"order buy @ 1 filled on A. New strategy position is 0",
        b'"ticker":"B"',
        b'"action":"sell"',
    ),
)
