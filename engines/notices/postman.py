"""The postman: hands mail in at the operator's server, in a thread, within a time."""

import asyncio
import smtplib
import ssl
from dataclasses import dataclass

from domain.mail import MailServer, Secured
from domain.notice import Mail

TIMEOUT, LONGEST = 10.0, 30.0
"""Seconds: of each word of the conversation, and of all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Postman:
    """``trust`` are the authorities a server's certificate is checked by."""

    server: MailServer
    trust: ssl.SSLContext | None = None

    async def post(self, mail: Mail) -> str | None:
        """Hand it in; return what went wrong, in words that hold no secret."""
        try:
            async with asyncio.timeout(LONGEST):
                await asyncio.to_thread(self._converse, mail)
        except smtplib.SMTPResponseException as error:
            return f"{type(error).__name__} {error.smtp_code}"
        except (smtplib.SMTPException, ssl.SSLError, OSError) as error:
            return type(error).__name__
        return None

    def _converse(self, mail: Mail) -> None:
        with self._connected() as smtp:
            if self.server.secured is Secured.STARTTLS:
                smtp.starttls(context=self._trust())
            if self.server.user is not None and self.server.password is not None:
                smtp.login(self.server.user, self.server.password)
            smtp.sendmail(mail.sender, [mail.to], mail.content)

    def _connected(self) -> smtplib.SMTP:
        host, port = self.server.host, self.server.port
        if self.server.secured is Secured.TLS:
            return smtplib.SMTP_SSL(host, port, timeout=TIMEOUT, context=self._trust())
        return smtplib.SMTP(host, port, timeout=TIMEOUT)

    def _trust(self) -> ssl.SSLContext:
        return self.trust or ssl.create_default_context()
