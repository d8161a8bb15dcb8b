"""A program that declares a fourth title source on a running product, works with it, and prints what followed.

The declaration and the table are what ``docs/adding-a-source.md`` describes; no other module knows the source. Settings
come as JSON on stdin. The program is a process of its own because the registries are built when modules are imported.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from pydantic import SecretStr
from sqlalchemy import BigInteger, Column, Float, ForeignKey, SmallInteger, Table, text

from aperture_dagster.storage.tables import enriched_metadata, metadata
from aperture_dagster.storage.tables.base import Moment

# The tables come first: modules build their statements from them when they are imported.
critics_scores = Table(
    "critics_scores",
    metadata,
    Column("work_id", BigInteger, ForeignKey("works.work_id"), primary_key=True),
    Column("score", SmallInteger, info={"range": (0, 100)}),
    Column("updated_at", Moment, nullable=False, server_default=text("now()")),
    info={"source": "critics"},
    comment="What the critics say of a work.",
)
enriched_metadata.append_column(Column("critics_score", Float))

import aperture_dagster.sources as declared  # noqa: E402
from aperture_dagster.library.merge import gives  # noqa: E402
from aperture_dagster.resources.client import ServiceClient  # noqa: E402
from aperture_dagster.settings import Settings, load_settings  # noqa: E402
from aperture_dagster.sources.base import TitleSource, store_titles  # noqa: E402
from aperture_dagster.sources.services import MeteredService  # noqa: E402
from aperture_dagster.worklist.engine import Attempt, WorkList, one_by_one  # noqa: E402

KEY = "critics-s3cret"
SCORES = {"tt1": 91, "tt2": 140}
ADDRESS: list[str] = []


class Site(BaseHTTPRequestHandler):
    """A rating site: ``/titles/<IMDb id>`` is a score."""

    def do_GET(self) -> None:
        """Answer a request."""
        score = SCORES.get(self.path.partition("?")[0].rpartition("/")[2])
        is_known = self.path == "/account" or score is not None
        body = json.dumps({"score": score}).encode()
        self.send_response((200 if is_known else 404) if self.headers["X-Key"] == KEY else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


@contextmanager
def site() -> Iterator[None]:
    """Serve the site on a loopback port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    Thread(target=server.serve_forever, daemon=True).start()
    ADDRESS.append(f"http://127.0.0.1:{server.server_port}")
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


class Critics(ServiceClient):
    """A client of the site."""

    def __init__(self, key: str, **options: Any) -> None:
        super().__init__("Critics", ADDRESS[0], headers={"X-Key": key}, secrets=[key], **options)

    def check(self) -> None:
        """Raise if the key is refused."""
        self.transport.get_json("/account")

    def title(self, imdb_id: str) -> dict[str, Any]:
        """Fetch the score of a title."""
        return {"score": self.transport.get_json(f"/titles/{imdb_id}")["score"]}


def work_lists(settings: Settings, service: MeteredService[Critics], client: Critics) -> tuple[WorkList, ...]:
    """Return the list of titles."""

    def ask(title: Any) -> Attempt:
        return Attempt(title, "ok", answer=client.title(title.imdb_id))

    titles = WorkList(
        source=CRITICS,
        ask=one_by_one(ask),
        store=store_titles(CRITICS.name),
        ttl=lambda attempt, now: timedelta(days=7),
        cancel=client.cancel,
        quota=service.quota,
    )
    return (titles,)


CRITICS: TitleSource[Critics] = TitleSource(
    name="critics",
    label="Critics",
    asks_by="imdb",
    connect=lambda settings, key, **options: Critics(key, **options),
    key=lambda settings: SecretStr(KEY),
    key_setting="CRITICS_API_KEY",
    url=lambda settings: ADDRESS[0],
    without_key="titles have no scores of critics",
    daily_limit=lambda settings: 50,
    table="critics_scores",
    about="Critics: one score.",
    description="The score of each title, one row per work.",
    gives=gives(40, critics_score="score"),
    work_lists=work_lists,
)
# In the product: another import and another name in `aperture_dagster/sources/__init__.py`.
declared.SOURCES = (*declared.SOURCES, CRITICS)
declared.SERVICES = (*declared.SERVICES, CRITICS)

import dagster as dg  # noqa: E402

from aperture_dagster.cli.doctor import examine  # noqa: E402
from aperture_dagster.instance.pools import POOLS  # noqa: E402
from aperture_dagster.resources.database import Database  # noqa: E402
from aperture_dagster_tests.household import Household, failures, metadata_of  # noqa: E402
from aperture_dagster_tests.storage.conftest import Shelf, film  # noqa: E402


def main() -> None:
    """Fetch the scores of three films, and print what became of them."""
    settings = load_settings(**json.load(sys.stdin))
    database = Database(settings)
    with database.transaction() as connection:
        # In the product: a migration.
        critics_scores.create(connection)
        connection.execute(text("ALTER TABLE enriched_metadata ADD COLUMN critics_score double precision"))
    Shelf(database).films(*(film(number, imdb_id=f"tt{number}") for number in (1, 2, 3)))
    with site(), dg.DagsterInstance.ephemeral() as instance:
        home = Household(settings, instance)
        result = home.run("enrich_metadata")
        numbers = metadata_of(result, "critics_scores")
        checks = home.daily_checks()
        findings = {}
        for finding in examine(settings):
            findings[finding.what] = finding.message
            if finding.what == CRITICS.label:
                break
    graph = home.definitions.resolve_asset_graph()
    print(
        json.dumps(
            {
                "failures": failures(result),
                "reads": sorted(key.to_user_string() for key in graph.get(dg.AssetKey("critics_scores")).parent_keys),
                "merged_from": sorted(
                    key.to_user_string() for key in graph.get(dg.AssetKey("enriched_metadata")).parent_keys
                ),
                "columns": [
                    column.name
                    for column in graph.get(dg.AssetKey("critics_scores")).metadata["dagster/column_schema"].columns
                ],
                "checks": {
                    name.removeprefix("critics_scores."): check.passed
                    for name, check in checks.items()
                    if name.startswith("critics_scores.")
                },
                "outcomes": {name: numbers[name] for name in ("fetched", "not_found", "errors", "quota_used")},
                "pool": POOLS.get("critics"),
                "doctor": findings.get("Critics"),
                "view": home.rows("SELECT title, critics_score, sources->>'critics_score' AS said_by "
                                  "FROM enriched_metadata ORDER BY title"),
            }
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
