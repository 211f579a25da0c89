"""What is read from a connection: where an answer ends, what is none, whose certificate counts."""

import asyncio
import ssl
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from domain.delivery import Outcome
from engines.clock import utc_now
from tests.engines.loopback import (
    BODY,
    HEADERS,
    LOOPBACK,
    Behaviour,
    Loopback,
    Writer,
    client,
    leaves,
    loopback,
    posted,
)
from tests.security.canary import resolve


def saying(*pieces: bytes, close: bool = False) -> Behaviour:
    async def behave(writer: Writer) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        if close:
            writer.close()

    return behave


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@pytest.mark.parametrize(
    "pieces",
    [
        [bytes([one]) for one in OK],
        [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", OK],
        [
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            b"1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
        ],
    ],
    ids=["in bytes", "after others", "in chunks"],
)
async def test_an_answer_is_read_to_its_end_and_the_connection_kept(pieces: list[bytes]) -> None:
    async with loopback(saying(*pieces)) as there, client(there.url) as ours:
        for _ in range(3):
            answer = await ours.post(BODY, HEADERS, leaves)
            assert (answer.status, answer.excerpt) == (200, "ok")
    assert there.connections == 1


async def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    answer, _ = await posted(saying(b"HTTP/1.1 200 OK\r\n\r\n", b"ok", close=True))
    assert (answer.outcome, answer.excerpt) == (Outcome.DELIVERED, "ok")


async def test_a_server_that_hangs_up_after_each_answer_is_dialled_again() -> None:
    head = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"
    async with loopback(saying(head)) as there, client(there.url) as ours:
        for _ in range(3):
            assert (await ours.post(BODY, HEADERS, leaves)).status == 204
    assert there.connections == 3


async def test_a_second_answer_is_not_taken_for_that_of_the_next_request() -> None:
    async with (
        loopback(saying(OK + OK.replace(b"200", b"503"))) as there,
        client(there.url) as ours,
    ):
        answers = [await ours.post(BODY, HEADERS, leaves) for _ in range(3)]
    assert [answer.status for answer in answers] == [200] * 3
    assert there.connections == 3


@pytest.mark.parametrize(
    "told",
    [
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20_000,
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
    ],
    ids=["a head without end", "two lengths", "another protocol", "a length that is none"],
)
async def test_what_is_no_answer_leaves_the_outcome_open(told: bytes) -> None:
    answer, _ = await posted(saying(told, close=True))
    assert (answer.outcome, answer.status) == (Outcome.AMBIGUOUS, None)
    assert answer.error in {"RemoteProtocolError", "ReadError"}


async def test_what_a_destination_wants_in_its_headers_stands_for_ours() -> None:
    async with loopback(saying(OK)) as there, client(there.url) as ours:
        await ours.post(BODY, HEADERS | {"user-agent": "theirs"}, leaves)
    head = there.requests[0].split(b"\r\n\r\n")[0].decode().split("\r\n")
    assert head[1] == f"host: 127.0.0.1:{there.port}"
    assert [line for line in head if line.startswith("user-agent")] == ["user-agent: theirs"]


def certificate(folder: Path, name: str) -> ssl.SSLContext:
    """What a server of this name shows; `ca.pem` is what those trust who trust it."""
    key = ec.generate_private_key(ec.SECP256R1())
    named = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder(named, named, key.public_key(), x509.random_serial_number())
        .not_valid_before(utc_now() - timedelta(days=1))
        .not_valid_after(utc_now() + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "ca.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.pem", folder / "key.pem")
    return context


@pytest.mark.parametrize(("host", "error"), [("here.example", None), ("x.example", "TLS refused")])
async def test_tls_is_by_the_name_that_was_asked_for_though_its_number_is_dialled(
    host: str, error: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = certificate(tmp_path, "here.example")
    trusted = ssl.create_default_context(cafile=tmp_path / "ca.pem")

    def trusting(**_: object) -> ssl.SSLContext:
        return trusted

    monkeypatch.setattr(httpx, "create_ssl_context", trusting)
    resolve(monkeypatch, ["127.0.0.1"])
    there = Loopback(saying(OK))
    async with await asyncio.start_server(there.talk, "127.0.0.1", 0, ssl=shown) as server:
        url = f"https://{host}:{server.sockets[0].getsockname()[1]}/hook"
        async with client(url, private=LOOPBACK) as ours:
            answers = [await ours.post(BODY, HEADERS, leaves) for _ in range(2)]
        await there.close()
    assert {(answer.status, answer.error) for answer in answers} == {
        (None if error else 200, error)
    }
    assert there.connections == (0 if error else 1)
