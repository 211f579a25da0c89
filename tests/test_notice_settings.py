"""SMTP_URL and HEARTBEAT_URL: a wrong one stops the start with one line that repeats nothing."""

import pytest

from config import SettingsError
from furnishing import heartbeat_url, mail_server, refuse_unfit
from tests.web.stage import settings


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"smtp_url": "https://mail.example.com/hunter2"}, "SMTP_URL: should be smtp://"),
        ({"smtp_url": "smtp://me:hunter2@mail.example.com:x"}, "SMTP_URL: is not an address"),
        ({"smtp_url": "smtp://hunter2@mail.example.com"}, "SMTP_URL: names a user without"),
        ({"heartbeat_url": "http://hc.example.com/hunter2"}, "HEARTBEAT_URL: must be https"),
        ({"heartbeat_url": "https://127.0.0.1/hunter2"}, "HEARTBEAT_URL: is a private"),
        ({"heartbeat_url": "hunter2"}, "HEARTBEAT_URL: must start with"),
        (
            {
                "heartbeat_url": "https://relay.example.com/x",
                "public_url": "https://relay.example.com",
            },
            "HEARTBEAT_URL: is this relay's own address",
        ),
    ],
)
def test_a_wrong_one_is_named(given: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError) as refused:
        refuse_unfit(settings(**given))
    assert str(refused.value).startswith(words)
    assert "hunter2" not in str(refused.value)


def test_right_ones_are_taken() -> None:
    given = settings(
        smtp_url="smtps://me:hunter2@mail.example.com",
        heartbeat_url="http://10.0.0.7:3001/push",
        private_destinations="10.0.0.0/8",
    )
    refuse_unfit(given)
    server = mail_server(given)
    assert server
    assert (server.port, heartbeat_url(given)) == (465, "http://10.0.0.7:3001/push")
    assert "hunter2" not in repr(given)
    assert {"smtps://me:hunter2@mail.example.com"} <= set(given.secrets())
    assert (mail_server(settings()), heartbeat_url(settings())) == (None, None)
