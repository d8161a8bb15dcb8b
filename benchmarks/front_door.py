"""Measure members' pages, their lists for programs, and the rows of the home screen: how soon they answer, how large
they are, what they add.

    python benchmarks/front_door.py [--films 10000]

A household of 50 users and 10,000 films, with lists of 50 films and 50 series for each, is written directly into a new
embedded database. The real application serves it in a process of its own, beside Dagster's webserver, whose memory is
measured before the pages are loaded. Twenty members, who have signed in, open each page for the first time: the
size is that of the largest, and the time that of the processors, in the door and in the database, a page. Beside other
work a clock tells how busy the machine is; its median is printed, too. Then 100 members at once reload pages that were
made before, with nothing written in between. Then a run of Dagster's, housekeeping, is timed without members, and
beside 100 who reload at once every few seconds.
The limit of the rows is that of a media server which waits for them while it draws a home screen.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime
from pathlib import Path

from backup import fill
from sqlalchemy import Connection
from verdict import Verdict

PROJECT = Path(__file__).resolve().parents[1]
FILMS, EPISODES, USERS, LISTED = 10_000, 40_000, 50, 50
DIMENSIONS = 384
MEMBERS, REQUESTS = 100, 100
SECRET = "benchmark"
MEASURED_ROWS = ("ApertureForYou", "ApertureBecause", "ApertureShows", "AperturePicks")
RUN = [*(sys.executable, "-m", "dagster", "asset", "materialize"), "--select", "housekeeping"]
RUN += ["--module-name", "aperture_dagster.definitions"]
# What a member opens, by name; ``{number}`` is another one for each of them.
PAGES = {
    "For you": "/",
    "Shows you watch": "/shows",
    "Top Picks": "/top-picks",
    "Not in the library": "/suggestions",
    "For later": "/later",
    "My taste, with choices": "/taste",
    "For tonight, 90 minutes and unseen": "/tonight?minutes=90&unseen=1",
    "For tonight, old and rare": "/tonight?age=old&genre=Mystery&minutes=120",
    "Together, four and a guest": "/together?with=user48&with=user49&with=user50&guest=16",
    "a title": "/titles/{number}",
    "a title outside the library": "/titles/{outside}",
    "Find, by name": "/find?q=Film+{number}",
    "Find, in plain words": "/find?q=space+horror+with+{number}+people",
    # Without a number, the address only leads to this one.
    "the year": f"/year/{datetime.now(UTC).year}",
    "history": "/history",
    "devices": "/devices",
    "settings": "/settings",
}
OPENING = 20
"""Members who open each page."""
LONG_DONE = 15.0
"""Seconds for which the index of the search may be made, before it is asked."""
LISTS_OF = ("recommendations", "shows", "top-picks")
PAGE_MS, AT_ONCE_MS, ROW_MS = 50.0, 500.0, 100.0
"""Of pages, the time of the processors: a clock also counts the work of others. These slow processors down, too, up to
three times on two cores with ten busy processes, so judge the figures of a machine that is idle."""
PAGE_KB, ADDED_MB = 150.0, 40.0
RUNS, EVERY_SECONDS, DELAYED = 3, 5.0, 1.25
# More than an empty row has.
LEAST_BYTES = 200
LISTS = f"""
    DELETE FROM recommendations;
    INSERT INTO recommendations (user_id, media_type, rank, work_id, item_id, score, components, because, is_cold,
    listed_since)
    SELECT user_id, media_type, rank, work_id, work_id, 0.5, '{{"similarity": 1}}',
      ARRAY[1 + work_id % 900, 1 + work_id % 800, 1 + work_id % 700], false, '2026-05-01'
    FROM (SELECT user_id, media_type, work_id,
      row_number() OVER (PARTITION BY user_id, media_type ORDER BY md5(user_id || work_id)) AS rank
      FROM users CROSS JOIN works) w WHERE rank <= {LISTED};
    INSERT INTO top_picks (day, media_type, rank, work_id, item_id, viewers, plays, completion, score, relaxed, source)
    SELECT CURRENT_DATE, media_type, row_number() OVER (PARTITION BY media_type ORDER BY work_id), work_id, work_id, 2,
      3, 1, 0.5, false, 'local' FROM works WHERE work_id % 200 = 0;
    INSERT INTO shows_you_watch (user_id, work_id, rank, item_id, episodes_played, episodes_out, next_season,
      next_number, next_title, behind)
    SELECT user_id, work_id, row_number() OVER (PARTITION BY user_id ORDER BY work_id), work_id, 2, 20, 1, 3, 'Three', 9
    FROM users CROSS JOIN (SELECT work_id FROM works WHERE media_type = 'series' LIMIT 20) s;
    UPDATE enriched_metadata SET popularity = work_id % 97, vote_average = 7, vote_count = 900, imdb_rating = 7.5,
      "cast" = ARRAY(SELECT md5((work_id * n % 900)::text) FROM generate_series(1, 10) n),
      directors = ARRAY[md5((work_id % 400)::text)];"""
WHOLE = """
    UPDATE enriched_metadata SET runtime_minutes = 80 + work_id % 60, year = 1960 + work_id % 66,
      official_rating = (ARRAY['G', 'PG', 'PG-13', 'R'])[1 + work_id % 4], genres = (ARRAY['{Drama}', '{Comedy,Family}',
      '{Science Fiction,Action}', '{Horror,Thriller}', '{Crime,Drama,Mystery}'])[1 + work_id % 5]::text[];
    INSERT INTO member_choices (user_id, publish, newsletter, together) SELECT user_id, true, false, true FROM users;
    INSERT INTO whole_lists (user_id, media_type, works, scores)
    SELECT user_id, media_type, array_agg(work_id ORDER BY place),
      array_agg((1 - place / 20000.0)::real ORDER BY place)
    FROM (SELECT user_id, media_type, work_id, row_number() OVER (PARTITION BY user_id, media_type
      ORDER BY md5(user_id || work_id)) AS place FROM users CROSS JOIN works) w GROUP BY user_id, media_type;
    INSERT INTO works (media_type, tmdb_id) SELECT 'movie', 1000000 + n FROM generate_series(1, 2000) n;
    INSERT INTO discovery_pool (work_id, media_type, tmdb_id, wanted_at, fetched_at, title, overview, status,
      release_date, genres, keywords, "cast", directors, creators, original_language, vote_average, vote_count,
      popularity, poster_path, runtime_minutes, is_adult, certifications, releases, providers)
    SELECT work_id, media_type, tmdb_id, now(), now(), 'Film ' || md5(work_id::text),
      repeat(md5(work_id::text) || ' ', 9),
      'Released', '2001-02-03', '{Drama}', '{}', '{A,B}', '{C}', '{}', 'en', 7, 5000, 3, '/p.jpg', 100, false,
      '{"US": ["PG"]}', '{"US": {"digital": "2001-05-06"}}', '{"US": {"flatrate": ["Netflix", "Mubi"]}}'
    FROM works WHERE tmdb_id > 1000000;
    INSERT INTO discovery_candidates (user_id, media_type, rank, work_id, score, components, because, listed_since)
    SELECT user_id, 'movie', place, work_id, 0.5, '{"similarity": 1}', ARRAY[1 + work_id % 900], '2026-05-01'
    FROM (SELECT user_id, work_id, row_number() OVER (PARTITION BY user_id ORDER BY md5(user_id || work_id)) AS place
      FROM users CROSS JOIN works WHERE tmdb_id > 1000000) w WHERE place <= 50;
    INSERT INTO for_later (user_id, work_id, title, was_missing, added_at)
    SELECT user_id, work_id, 'A film', false, now() FROM users CROSS JOIN works WHERE work_id BETWEEN 3000 AND 3039;
    INSERT INTO dismissals (user_id, work_id, media_type, title, dismissed_at)
    SELECT user_id, work_id, media_type, 'A film', now() FROM users CROSS JOIN works
    WHERE work_id BETWEEN 4000 AND 4039;
    ANALYZE"""


def main() -> int:
    """Run the benchmark, print the figures, and return 0 if all limits were kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=FILMS)
    parser.add_argument("--serve", type=Path, help="Serve this home in this process.")
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return 0
    from aperture_dagster.postgres.embedded import release_embedded_server

    with tempfile.TemporaryDirectory(prefix="aperture-door-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        try:
            return measure(home, fill_home(home, options.films))
        finally:
            release_embedded_server(home / "postgres")


def fill_home(home: Path, films: int) -> str:
    """Write a household into a new embedded database; return the key of a program that reads its lists."""
    from aperture_dagster.postgres.database import Database
    from aperture_dagster.settings import load_settings

    with Database(load_settings(home=home)).transaction() as connection:
        return fill_household(connection, films, EPISODES, USERS)


def fill_household(connection: Connection, films: int, episodes: int, users: int) -> str:
    """Write a household and the lists of everybody; return the key of a program that reads them."""
    from aperture_dagster.members.keys import add_key

    fill(connection, films, episodes, users)
    for statement in f"{LISTS}{WHOLE}".split(";"):
        connection.exec_driver_sql(statement.replace("%", "%%"))
    fill_vectors(connection)
    key = add_key(connection, "benchmark", None)
    assert key is not None
    return key


def fill_vectors(connection: Connection) -> None:
    """Replace the vectors, which are random bytes, by random numbers."""
    import numpy as np

    from aperture_dagster.postgres.queries import execute
    from aperture_dagster.taste.vectors import write_vectors

    works = list(execute(connection, "SELECT work_id FROM works ORDER BY 1").scalars())
    vectors = np.random.default_rng(0).normal(size=(len(works), DIMENSIONS)).astype(np.float32)
    write_vectors(connection, "model", works, ["benchmark"] * len(works), vectors)


def measure(home: Path, key: str) -> int:
    """Send requests to a process that serves the home, and judge the figures."""
    command = [sys.executable, __file__, "--serve", str(home)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT) as served:
        assert served.stdin is not None and served.stdout is not None
        port, rows, verdict = int(served.stdout.readline()), json.loads(served.stdout.readline()), Verdict()
        cookies, outside = json.loads(served.stdout.readline()), json.loads(served.stdout.readline())
        members = list(cookies)[:OPENING]
        for name, path in PAGES.items():
            if "/find" in path:
                timed(port, [("GET", "/find?q=anything", None)], cookie=cookies[members[0]])
                time.sleep(LONG_DONE)
            began, busy = time.perf_counter(), processor_seconds(served.pid, home)
            times, sizes = [], []
            for number, member in enumerate(members):
                target = path.format(number=number + 1, outside=outside[member])
                taken, bytes_sent = timed(port, [("GET", target, None)], cookie=cookies[member], warm=False)
                times, sizes = [*times, *taken], [*sizes, *bytes_sent]
            busy, seconds = processor_seconds(served.pid, home) - busy, time.perf_counter() - began
            print(
                f"{name}: median {statistics.median(times):.0f} ms by the clock, {100 * busy / seconds:.0f} % at work"
            )
            verdict.most(f"{name}, of the processors", busy * 1e3 / len(members), PAGE_MS, " ms")
            verdict.most(f"{name}, largest", max(sizes) / 1e3, PAGE_KB, " kB")
        reloads = [("/", cookies[member]) for member in (members * MEMBERS)[:MEMBERS]]
        for path, cookie in reloads[: len(members)]:
            timed(port, [("GET", path, None)], cookie=cookie)
        at_once = everybody_at_once(port, reloads)
        verdict.most(
            f"{MEMBERS} members at once, 95 % within", statistics.quantiles(at_once, n=100)[94], AT_ONCE_MS, " ms"
        )
        for name in LISTS_OF:
            targets = [f"/api/v1/users/{member}/{name}?limit={LISTED}" for member in members]
            busy = processor_seconds(served.pid, home)
            times, sizes = timed(port, [("GET", one, None) for one in (targets * REQUESTS)[:REQUESTS]], key)
            busy = processor_seconds(served.pid, home) - busy
            assert max(sizes) > LEAST_BYTES, f"nobody has a list {name}"
            print(f"list {name} for a program: median {statistics.median(times):.0f} ms by the clock")
            verdict.most(f"list {name} for a program, of the processors", busy * 1e3 / len(times), PAGE_MS, " ms")
        for row, path in rows.items():
            bodies = [json.dumps({"UserId": member, "AdditionalData": row}) for member in members]
            asked = [("POST", path, one) for one in (bodies * REQUESTS)[:REQUESTS]]
            times, sizes = timed(port, asked)
            assert max(sizes) > LEAST_BYTES, f"nobody has a row {row}"
            verdict.most(f"row {row}, 99 % within", statistics.quantiles(times, n=100)[98], ROW_MS, " ms")
        served.stdin.write("\n")
        served.stdin.flush()
        verdict.most("memory that all of it added", float(served.stdout.readline()), ADDED_MB, " MB")
        alone, beside = (run_seconds(home, one) for one in (None, lambda: everybody_at_once(port, reloads)))
        verdict.most("a run beside reloads, of its time without", beside / alone, DELAYED)
        served.stdin.close()
    return verdict.close()


def run_seconds(home: Path, meanwhile: Callable[[], object] | None) -> float:
    """Return the seconds that a run takes, the least of several; ``meanwhile`` happens every few seconds."""

    def run() -> float:
        began = time.perf_counter()
        subprocess.run(RUN, env=os.environ | {"APERTURE_HOME": str(home)}, cwd=PROJECT, capture_output=True, check=True)
        return time.perf_counter() - began

    taken = []
    for _ in range(RUNS):
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(run)
            while not running.done():
                if meanwhile is not None:
                    meanwhile()
                wait([running], EVERY_SECONDS)
            taken.append(running.result())
    return min(taken)


def timed(
    port: int, requests: Sequence[tuple[str, str, str | None]], key: str = "", *, cookie: str = "", warm: bool = True
) -> tuple[list[float], list[int]]:
    """Send requests one after the other; return milliseconds and sizes in bytes.

    ``warm``: the first one is sent twice, and counts once.
    """
    headers = ({"Authorization": f"Bearer {key}"} if key else {}) | ({"Cookie": cookie} if cookie else {})
    connection = http.client.HTTPConnection("127.0.0.1", port)
    times, sizes = [], []
    for method, target, body in [*requests[: int(warm)], *requests]:
        began = time.perf_counter()
        connection.request(method, target, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        times.append((time.perf_counter() - began) * 1e3)
        assert answer.status == 200, (target, answer.status)
        sizes.append(len(content))
    connection.close()
    return times[int(warm) :], sizes[int(warm) :]


def everybody_at_once(port: int, targets: Sequence[tuple[str, str]]) -> list[float]:
    """Send requests, each with a cookie, at the same moment over connections that are open; return milliseconds."""
    gate = threading.Barrier(len(targets))

    def ask(target: tuple[str, str]) -> float:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.connect()
        gate.wait()
        began = time.perf_counter()
        connection.request("GET", target[0], headers={"Cookie": target[1]})
        assert connection.getresponse().read()
        return (time.perf_counter() - began) * 1e3

    with ThreadPoolExecutor(len(targets)) as pool:
        return list(pool.map(ask, targets))


def serve(home: Path) -> None:
    """Serve the pages and rows; print the memory in MB that they added when a line is read, and end with the input."""
    import uvicorn
    from dagster_webserver.app import create_app_from_workspace_process_context

    from aperture_dagster.instance.storage import ApertureDagsterStorage

    # As the webserver of the product does, whose storage loads much of what the pages need.
    assert create_app_from_workspace_process_context and ApertureDagsterStorage
    gc.collect()
    before = private_memory()
    from aperture_dagster.catalogue.stored_users import read_users
    from aperture_dagster.front_door.app import members_pages
    from aperture_dagster.front_door.gate import Gate
    from aperture_dagster.front_door.home_rows import HomeRows
    from aperture_dagster.front_door.house import House
    from aperture_dagster.front_door.server import leave_loaded_modules_alone
    from aperture_dagster.front_door.sessions import COOKIE
    from aperture_dagster.postgres.database import ReadOnlyDatabase
    from aperture_dagster.postgres.queries import execute
    from aperture_dagster.settings import load_settings

    settings = load_settings(home=home)
    database = ReadOnlyDatabase(settings)
    rows = HomeRows(settings, database, SECRET)
    gate = Gate(settings, database)
    application = members_pages(House(settings, database, gate), rows.route())
    with database.connection() as connection:
        users = [user.user_id for user in read_users(connection)]
        statement = "SELECT user_id, min(work_id) FROM discovery_candidates GROUP BY user_id"
        outside = {user: work for user, work in execute(connection, statement)}
    cookies = {user: f"{COOKIE}={gate.sessions.begin(user, is_administrator=True)}" for user in users}
    server = uvicorn.Server(uvicorn.Config(application, log_level="warning"))
    listening = socket.create_server(("127.0.0.1", 0), backlog=2 * MEMBERS)
    leave_loaded_modules_alone()
    paths = {row: rows.path(row) for row in MEASURED_ROWS}
    print(listening.getsockname()[1], *map(json.dumps, (paths, cookies, outside)), sep="\n", flush=True)
    threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True).start()
    sys.stdin.readline()
    gc.collect()
    print(private_memory() - before, flush=True)
    sys.stdin.read()


def processor_seconds(pid: int, home: Path) -> float:
    """Return the time that processors have worked for a process and for the sessions of the database of a home."""
    server = next(home.glob("postgres/**/postmaster.pid")).read_text(encoding="utf-8").split()[0]
    found = 0.0
    for folder in Path("/proc").iterdir():
        # A session may end meanwhile.
        with contextlib.suppress(OSError):
            if folder.name.isdigit():
                fields = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
                # What the server does by itself, such as a vacuum after so many new rows, is no work for a page.
                is_session = fields[1] == server and b"[local]" in (folder / "cmdline").read_bytes()
                if int(folder.name) == pid or is_session:
                    found += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return found


def private_memory() -> float:
    """Return the memory in MB that this process shares with no other."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1e3


if __name__ == "__main__":
    os.environ.setdefault("DAGSTER_HOME", str(PROJECT))
    sys.exit(main())
