"""Standard Webhooks signatures: HMAC-SHA256 over id, timestamp and the exact body bytes."""

import base64
import binascii
import hashlib
import hmac

PREFIX = "whsec_"


def key_of(secret: str) -> bytes:
    """The key in a `whsec_…` secret. Raises ValueError when it is not base64 of 24 to 64 bytes."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("a signing secret is whsec_ and base64") from error
    if not 24 <= len(key) <= 64:
        raise ValueError("a signing secret has 24 to 64 bytes")
    return key


def sign(key: bytes, *, id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature` (Standard Webhooks specification, "Signature scheme")."""
    signed = b".".join((id.encode(), str(timestamp).encode(), body))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
