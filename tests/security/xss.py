"""Payloads that would run, fetch or rewrite something where their text became a part of a page."""

import re
from pathlib import Path

_ESCAPED = re.compile(r"\\(?:u([0-9a-f]{4})|([nt\\]))")
_MEANT = {"n": "\n", "t": "\t", "\\": "\\"}


def _read(line: str) -> str:
    return _ESCAPED.sub(lambda one: chr(int(one[1], 16)) if one[1] else _MEANT[one[2]], line)


PAYLOADS = [
    _read(line) for line in Path(__file__).with_name("xss.txt").read_text().split("\n") if line
]
"""Each calls ``pwn()``, or asks elsewhere.example, if it can."""


def packed(most: int, given: list[str] = PAYLOADS) -> list[str]:
    """The payloads behind one another, in texts of at most ``most`` bytes each."""
    texts = [""]
    for payload in given:
        if len(f"{texts[-1]} {payload}".encode()) > most:
            texts.append("")
        texts[-1] = f"{texts[-1]} {payload}".strip(" ")
    return [text for text in texts if text]
