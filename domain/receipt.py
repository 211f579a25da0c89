"""Receipts: what a destination's JSON answer says about itself, as TradersPost's does."""

import json
from collections.abc import Mapping
from typing import Any

NAMES = {"id": "id", "logId": "log_id", "messageCode": "message_code", "message": "message"}
"""TradersPost (docs.traderspost.io, webhooks): ids of what it took, codes of what it refused."""

LONGEST = 200


def read_receipt(excerpt: str | None) -> Mapping[str, str] | None:
    """The ids and codes in an answer, each as text; None when it is no such JSON."""
    if not excerpt or not excerpt.lstrip().startswith("{"):
        return None
    try:
        answer: Any = json.loads(excerpt)
    except (ValueError, RecursionError):
        return None
    found = {
        ours: _clean(str(answer[theirs]))
        for theirs, ours in NAMES.items()
        if isinstance(answer.get(theirs), str | int) and not isinstance(answer[theirs], bool)
    }
    return found or None


def _clean(text: str) -> str:
    """What PostgreSQL can hold: no NUL, no half of a surrogate pair."""
    return text[:LONGEST].encode("utf-8", "replace").decode().replace("\0", "")
