"""Two servers on this machine that take what an operator is told: one for HTTP, one for mail."""

import asyncio
import datetime as dt
import ipaddress
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from engines.clock import utc_now


@dataclass(slots=True)
class Inbox:
    """Keeps the bodies it is sent, and answers ``status`` and ``answer``; hangs while ``deaf``."""

    status: int = 200
    answer: bytes = b"ok"
    deaf: bool = False
    port: int = 0
    heads: list[bytes] = field(default_factory=list[bytes])
    bodies: list[bytes] = field(default_factory=list[bytes])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/a-secret-path"

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            lengths = [ln for ln in head.lower().split(b"\r\n") if ln.startswith(b"content-length")]
            length = int(lengths[0].partition(b":")[2]) if lengths else 0
            self.heads.append(head)
            self.bodies.append(await reader.readexactly(length))
            if self.deaf:
                await reader.read()
            told = f"HTTP/1.1 {self.status} X\r\ncontent-length: {len(self.answer)}\r\n"
            writer.write(f"{told}connection: close\r\n\r\n".encode() + self.answer)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def inbox(**given: object) -> AsyncGenerator[Inbox]:
    there = Inbox(**given)  # pyright: ignore[reportArgumentType]
    async with await asyncio.start_server(there.talk, "127.0.0.1", 0) as server:
        there.port = server.sockets[0].getsockname()[1]
        yield there


@dataclass(slots=True)
class MailServer:
    """Speaks as much SMTP as it needs (RFC 5321), STARTTLS (RFC 3207) where it has a certificate.

    ``refuses`` names a verb that it answers 535.
    """

    tls: ssl.SSLContext | None = None
    refuses: str = ""
    port: int = 0
    said: list[str] = field(default_factory=list[str])
    mails: list[bytes] = field(default_factory=list[bytes])
    secured: bool = False

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            writer.write(b"220 here\r\n")
            while line := (await reader.readline()).decode():
                verb = line.split(maxsplit=1)[0].upper()
                self.said.append(line.strip())
                await self._answer(verb, reader, writer)
                await writer.drain()
                if verb == "QUIT":
                    break
        writer.close()

    async def _answer(
        self, verb: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if verb == self.refuses:
            writer.write(b"535 a-secret-of-mine is wrong\r\n")
        elif verb == "EHLO":
            offer = b"250-STARTTLS\r\n" if self.tls and not self.secured else b""
            writer.write(b"250-here\r\n" + offer + b"250 AUTH PLAIN\r\n")
        elif verb == "STARTTLS":
            writer.write(b"220 go\r\n")
            await writer.drain()
            await writer.start_tls(self.tls)  # pyright: ignore[reportArgumentType]
            self.secured = True
        elif verb == "DATA":
            writer.write(b"354 go\r\n")
            await writer.drain()
            self.mails.append(await reader.readuntil(b"\r\n.\r\n"))
            writer.write(b"250 kept\r\n")
        else:
            writer.write(
                b"221 bye\r\n"
                if verb == "QUIT"
                else b"235 ok\r\n"
                if verb == "AUTH"
                else b"250 ok\r\n"
            )


@asynccontextmanager
async def mail_server(
    tls: ssl.SSLContext | None = None, refuses: str = ""
) -> AsyncGenerator[MailServer]:
    there = MailServer(tls=tls, refuses=refuses)
    async with await asyncio.start_server(there.talk, "127.0.0.1", 0) as server:
        there.port = server.sockets[0].getsockname()[1]
        yield there


def certificate(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What a server on 127.0.0.1 proves itself with, and what trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = utc_now()
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    file = folder / "certificate.pem"
    plain = serialization.NoEncryption()
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    file.write_bytes(key.private_bytes(pem, pkcs8, plain) + made.public_bytes(pem))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    return server, ssl.create_default_context(cafile=file)
