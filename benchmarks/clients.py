"""Measure the lists for clients of the media server: how soon they answer while nothing changes, and after a change.

    python benchmarks/clients.py [--films 10000]

A household of 50 users and 10,000 films, with lists of 50 films and 50 series for each, is written directly into a new
embedded database. The pages are served by this process; the media server is a stand-in that knows a token of each user,
and counts what it is asked. Televisions ask every minute for each row: while nothing has changed, the answer comes from
memory, and the media server is not asked. Then something is written before every request, so that each answer is made
anew. Searches by name are never kept.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import statistics
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import perf_counter
from typing import Any

from front_door import FILMS, REQUESTS, USERS, fill_home
from verdict import Verdict

PROJECT = Path(__file__).resolve().parents[1]
SERVER_ID = "5e7e" * 8
RECOMMENDATIONS = "/api/recommendations?serverId=1&limit=20"
ROWS = {
    "a row of ids": f"{RECOMMENDATIONS}&type=Movie&format=ids",
    "a row in full": f"{RECOMMENDATIONS}&type=all",
    "promoted lists": "/api/watchlists/promoted?serverId=1",
    "a promoted list": "/api/watchlists/1?format=ids",
}
SEARCHES = {"a search for titles": "type=media", "a search for films": "type=movies", "for episodes": "type=episodes"}
KEPT_MS, MADE_MS = 5.0, 100.0
asked: list[str] = []
"""What the media server was asked."""


class MediaServer(BaseHTTPRequestHandler):
    """The media server, as far as tokens are concerned: that of a user is their name."""

    def do_GET(self) -> None:
        """Say which server it is, or whose a token is."""
        asked.append(self.path)
        user = self.headers.get("authorization", "").partition('Token="')[2].rstrip('"')
        public = {"Id": SERVER_ID, "ServerName": "Stand-in", "ProductName": "Jellyfin Server", "Version": "10.11.11"}
        me = {"Id": user, "Name": user, "ServerId": SERVER_ID, "Policy": {"IsAdministrator": False}}
        body = json.dumps(me if self.path.startswith("/Users/Me") else public).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


def main() -> int:
    """Run the benchmark, print the figures, and return 0 if all limits were kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=FILMS)
    options = parser.parse_args()
    from aperture_dagster.postgres.embedded import release_embedded_server

    media_server = ThreadingHTTPServer(("127.0.0.1", 0), MediaServer)
    threading.Thread(target=media_server.serve_forever, daemon=True).start()
    os.environ["APERTURE_MEDIA_SERVER_URL"] = f"http://127.0.0.1:{media_server.server_port}"
    os.environ["APERTURE_MEDIA_SERVER_API_KEY"] = "benchmark"
    with tempfile.TemporaryDirectory(prefix="aperture-clients-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        try:
            fill_home(home, options.films)
            return measure(home)
        finally:
            release_embedded_server(home / "postgres")


def measure(home: Path) -> int:
    """Serve the home, send requests, and judge the figures."""
    import uvicorn

    from aperture_dagster.catalogue.stored_users import remember_server
    from aperture_dagster.front_door.app import members_pages
    from aperture_dagster.front_door.gate import Gate
    from aperture_dagster.front_door.house import House
    from aperture_dagster.postgres.database import Database, ReadOnlyDatabase
    from aperture_dagster.postgres.queries import execute
    from aperture_dagster.settings import load_settings

    settings = load_settings(home=home)
    written, database, verdict = Database(settings), ReadOnlyDatabase(settings), Verdict()
    with written.transaction() as connection:
        remember_server(connection, {"server_id": SERVER_ID, "name": "Stand-in", "product": "Jellyfin Server"})
        users = list(
            execute(connection, "SELECT user_id FROM users ORDER BY user_id LIMIT :most", most=USERS).scalars()
        )

    def change() -> None:
        with written.transaction() as connection:
            execute(connection, "SELECT pg_current_xact_id()")

    application = members_pages(House(settings, database, Gate(settings, database)))
    server = uvicorn.Server(uvicorn.Config(application, log_level="warning"))
    listening = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True).start()
    client = http.client.HTTPConnection("127.0.0.1", listening.getsockname()[1])

    def ask(path: str, user: str) -> float:
        began = perf_counter()
        client.request("GET", path, headers={"Authorization": f'MediaBrowser Token="{user}"'})
        answer = client.getresponse()
        content = answer.read()
        assert answer.status == 200 and len(content) > 20, (path, answer.status, content[:200])
        return (perf_counter() - began) * 1e3

    for path in ROWS.values():
        for user in users:
            ask(path, user)
    before = len(asked)
    for name, path in ROWS.items():
        kept = [ask(path, users[place % len(users)]) for place in range(REQUESTS)]
        verdict.most(f"{name}, as it was, median", statistics.median(kept), KEPT_MS, " ms")
    verdict.most("requests to the media server meanwhile", len(asked) - before, 0)
    for name, path in ROWS.items():
        made = []
        for place in range(REQUESTS):
            change()
            made.append(ask(path, users[place % len(users)]))
        verdict.most(f"{name}, after a change, median", statistics.median(made), MADE_MS, " ms")
    for name, kind in SEARCHES.items():
        found = [ask(f"/api/search?q={12 + place}&{kind}", users[place % len(users)]) for place in range(REQUESTS // 4)]
        verdict.most(f"{name}, median", statistics.median(found), MADE_MS, " ms")
    server.should_exit = True
    return verdict.close()


if __name__ == "__main__":
    os.environ.setdefault("DAGSTER_HOME", str(PROJECT))
    sys.exit(main())
