import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from domain.signature import key_of, sign
from engines.clock import utc_now

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

keys = st.binary(min_size=24, max_size=64)


def headers(key: bytes, body: bytes, id: str = "msg_1") -> dict[str, str]:
    timestamp = int(utc_now().timestamp())
    return {
        "webhook-id": id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(key, id=id, timestamp=timestamp, body=body),
    }


def test_the_published_vector() -> None:
    signed = sign(
        key_of(SECRET),
        id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1614265330,
        body=b'{"test": 2432232314}',
    )
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(keys, st.text(st.characters(codec="ascii", exclude_categories=["C"])), st.text())
def test_an_independent_receiver_accepts_it(key: bytes, id: str, text: str) -> None:
    receiver = Webhook(base64.b64encode(key).decode())
    body = json.dumps({"text": text}).encode()
    assert receiver.verify(body, headers(key, body, id or "msg_1")) == {"text": text}


def test_an_independent_receiver_refuses_what_was_altered() -> None:
    receiver, body = Webhook(SECRET), b'{"ticker":"AAPL"}'
    good = headers(key_of(SECRET), body)
    receiver.verify(body, good)
    for altered in (b'{"ticker":"MSFT"}', body + b" "):
        with pytest.raises(WebhookVerificationError):
            receiver.verify(altered, good)
    with pytest.raises(WebhookVerificationError):
        receiver.verify(body, good | {"webhook-id": "msg_2"})


@given(keys)
def test_a_key_is_read_with_and_without_its_prefix(key: bytes) -> None:
    text = base64.b64encode(key).decode()
    assert key_of(text) == key_of(f"whsec_{text}") == key


@pytest.mark.parametrize(
    "secret",
    [
        *("", "whsec_", "whsec_?", "whsec_" + "A" * 33, "whsec_" + "AAAA" * 7),
        *("whsec_" + "AAAA" * 22, "whsec_" + "ä" * 40, "not base64 at all, really not at all"),
    ],
)
def test_what_is_no_key_is_refused(secret: str) -> None:
    with pytest.raises(ValueError):
        key_of(secret)
