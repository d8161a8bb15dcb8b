"""What `aperture up` runs: the parts, where the web server listens, and how long things may take."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

SUPERVISOR = "aperture_dagster.up.supervisor"


@dataclass(frozen=True)
class Part:
    """A Python module that runs with these arguments.

    Attributes:
        stage: parts of a stage start once all of the earlier stages can be used, and stop before them.
        address: where it listens once it can be used: the path of a Unix socket, or a port of 127.0.0.1.
        ready: what to announce once everything works; only the web server, which can be asked, has one.
        says_errors_only: what it prints to its standard output is for programs.
        may_restart: it may ask for everything to be started anew.
        listens: it is the web server, which takes over an open address with ``--listening``.
    """

    name: str
    module: str
    arguments: Sequence[str]
    stage: int = 0
    address: str | int | None = None
    ready: str | None = None
    says_errors_only: bool = False
    may_restart: bool = False
    listens: bool = False


@dataclass(frozen=True)
class Ui:
    """Where the web server listens.

    Attributes:
        published: in a container that listens on all addresses, the address under which its host reaches it.
    """

    host: str
    port: int
    published: str | None = None

    @property
    def reachable_host(self) -> str:
        """Host under which this machine reaches it."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)

    @property
    def address(self) -> str:
        """Address for the browser of this machine, or of the host of this container."""
        if self.published is not None:
            return self.published
        host = self.reachable_host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


@dataclass(frozen=True)
class Limits:
    """Times in seconds and counts that decide when a part is killed or started again.

    Attributes:
        stop_seconds: time to stop, after which a part is killed. Dagster's daemon gives its threads 30 seconds.
        pause_seconds: pause before a part is started again; doubles each time until the part lasts.
        longest_pause_seconds: the longest such pause.
        restarts: how often a part that does not last is started again before it counts as broken.
        lasting_seconds: how long a part has to run to have lasted.
    """

    stop_seconds: float = 40.0
    pause_seconds: float = 1.0
    longest_pause_seconds: float = 300.0
    restarts: int = 5
    lasting_seconds: float = 600.0


@dataclass(frozen=True)
class EmbeddedDatabase:
    """The embedded database of the home.

    Attributes:
        folder: its data directory.
        server_lock: lock file that is held as long as its server runs.
    """

    folder: str
    server_lock: str


@dataclass(frozen=True)
class Plan:
    """What the supervisor runs, and where.

    Attributes:
        parts: in the order in which they start.
        lock: descriptor whose lock is held as long as the supervisor or a part is running.
        state: file that tells other commands what runs.
        key: file with the key for the operator's pages, by which the web server can be asked what works.
        ui: where the web server listens.
        folder: working folder of the parts; None for the supervisor's own.
        database: to be stopped at the end if the parts could not; None if the database is on another server.
        again: arguments of Python that start everything anew.
        listening: descriptor of a socket that listens at the web server's address already, for its first start.
        copied: variables of the environment that were read from ``.env``, or made from it, and are read anew then.
    """

    parts: Sequence[Part]
    lock: int
    state: str
    key: str
    ui: Ui
    folder: str | None = None
    limits: Limits = field(default_factory=Limits)
    database: EmbeddedDatabase | None = None
    again: Sequence[str] = ()
    listening: int | None = None
    copied: Sequence[str] = ()

    def command(self) -> list[str]:
        """Return the command that runs this plan."""
        return [sys.executable, "-P", "-m", SUPERVISOR, json.dumps(asdict(self))]

    @classmethod
    def parse(cls, text: str) -> Plan:
        """Read a plan back from the argument of the command."""
        given = json.loads(text)
        return cls(
            **given
            | {
                "parts": [Part(**part) for part in given["parts"]],
                "ui": Ui(**given["ui"]),
                "limits": Limits(**given["limits"]),
                "database": EmbeddedDatabase(**given["database"]) if given["database"] else None,
            }
        )
