"""Recorded requests and answers of Jellyfin 12.0.0, of Jellyfin 10.11.11 and of Seerr 3.1.0.

Each was asked by this project, about a library made for it. Of a long list, the first three entries are kept. Of
headers, only the content type was recorded, and of Seerr not even that.
"""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

SERVERS = ("jellyfin-12.0.0", "jellyfin-10.11.11", "seerr-3.1.0")
ID = re.compile("[0-9a-f]{32}")
_NUMBER = re.compile(r"\{[^}]*\}|\b\d+\b")


@dataclass(frozen=True, slots=True)
class Recorded:
    """A request to a server and its answer.

    ``user`` is the one in whose name Seerr was asked, by name or by number (None: the owner). ``step`` names what the
    request was for, and ``before`` holds what was done on the server before.
    """

    server: str
    method: str
    path: str
    body: Any
    status: int
    type: str | None
    answer: Any
    user: str | None = None
    step: str = ""
    before: tuple[tuple[Any, ...], ...] = ()

    @property
    def route(self) -> str:
        """The path without the query."""
        return self.path.partition("?")[0]

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the query."""
        return dict(parse_qsl(self.path.partition("?")[2], keep_blank_values=True))

    @property
    def kind(self) -> str:
        """The request without ids and numbers."""
        return f"{self.method} {_NUMBER.sub('*', ID.sub('*', self.route))}"


def load(server: str) -> list[Recorded]:
    """Load what a server answered, in order."""
    packed = Path(__file__).with_name(f"{server}.jsonl.gz").read_bytes()
    entries = [json.loads(line) for line in gzip.decompress(packed).splitlines()]
    for entry in entries:
        entry["before"] = tuple(tuple(one) for one in entry.pop("before", ()))
    return [Recorded(server, **entry) for entry in entries]
