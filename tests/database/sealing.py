"""Sealed values as older versions of the relay left them."""

import base64
import os

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from database.vault import UNBOUND
from tests.conftest import KEY


def unbound(plain: bytes, key: str = KEY) -> bytes:
    """Sealed by version 1, which knew no places."""
    nonce = os.urandom(12)
    return UNBOUND + nonce + AESGCM(base64.b64decode(key)).encrypt(nonce, plain, UNBOUND)
