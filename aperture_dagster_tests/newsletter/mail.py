"""A mail server on loopback, as much of SMTP as a program for mail needs."""

from __future__ import annotations

import email
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message

from aperture_dagster_tests.waiting import SECONDS


@dataclass
class Letter:
    """A message that arrived."""

    recipients: list[str]
    message: Message

    def text(self, kind: str) -> str:
        """Return the part of a kind, such as ``plain``."""
        part = next(one for one in self.message.walk() if one.get_content_type() == f"text/{kind}")
        payload = part.get_payload(decode=True)
        assert isinstance(payload, bytes)
        return payload.decode()


@dataclass
class MailServer:
    """What arrived at ``url``. Recipients in ``refused`` are refused."""

    port: int
    letters: list[Letter] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)

    @property
    def url(self) -> str:
        """The address of the operator, as for alerts."""
        return f"mailto://127.0.0.1:{self.port}/cc@home.example?from=aperture@home.example&to=operator@home.example"


@contextmanager
def mail_server() -> Iterator[MailServer]:
    """Serve until the block ends."""

    class Handler(socketserver.StreamRequestHandler):
        def say(self, line: str) -> None:
            self.wfile.write(f"{line}\r\n".encode())

        def handle(self) -> None:
            recipients: list[str] = []
            self.say("220 mail")
            while line := self.rfile.readline().decode().strip():
                verb = line.upper()
                if verb.startswith("RCPT"):
                    to = line[line.index("<") + 1 : line.index(">")]
                    if to in server.refused:
                        self.say(f"550 nobody is called {to} here")
                        continue
                    recipients.append(to)
                if verb.startswith("DATA"):
                    self.say("354 go on")
                    body = b""
                    while not body.endswith(b"\r\n.\r\n"):
                        body += self.rfile.readline()
                    server.letters.append(Letter(recipients, email.message_from_bytes(body[:-5])))
                    recipients = []
                self.say("250-mail\r\n250 8BITMIME" if verb.startswith("EHLO") else "250 yes")
                if verb.startswith("QUIT"):
                    return

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        server = MailServer(listening.server_address[1])
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            listening.shutdown()
            thread.join(SECONDS)
