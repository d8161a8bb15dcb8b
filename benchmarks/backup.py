"""Measure how long a proven backup of a large household takes.

    python benchmarks/backup.py [--movies 10000] [--episodes 100000] [--users 50]

Fills an embedded database in a temporary folder with films, series, metadata, vectors, histories and lists, with texts
as long and as hard to compress as real ones; makes a backup and proves it. The limit is 60 seconds on two cores; the
exit code is 1 if it took longer, or the backup was not proven.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from sqlalchemy import Connection

from aperture_dagster.resources.clock import Clock
from aperture_dagster.settings import load_settings
from aperture_dagster.storage.backup.create import create_backup
from aperture_dagster.storage.backup.places import in_words
from aperture_dagster.storage.connection import close_engine, open_engine, product_database_url
from aperture_dagster.storage.embedded import release_embedded_server
from aperture_dagster.storage.queries import execute, read_value

LIMIT_SECONDS = 60.0
EPISODES_PER_SERIES = 50
DIMENSIONS = 384
PLAYS_PER_USER, RATINGS_PER_USER, WEIGHTS_PER_USER = 4000, 300, 500
# Words at random: they compress like prose, about three to one.
_WORDS = "(SELECT string_agg(words[1 + (random() * 1999)::int], ' ') FROM generate_series(1, {count} + i % 3), w)"
_TITLES = "(SELECT work_id, media_type, row_number() OVER (ORDER BY work_id) AS i FROM works) one"
STATEMENTS = [
    "CREATE TEMPORARY TABLE w AS SELECT array_agg(substr(md5(n::text), 1, 3 + n % 8)) AS words "
    "FROM generate_series(1, 2000) n",
    "INSERT INTO works (media_type, tmdb_id, imdb_id) SELECT CASE WHEN i <= :movies THEN 'movie' ELSE 'series' END, i, "
    "'tt' || i FROM generate_series(1, :movies + :series) i",
    "INSERT INTO titles (item_id, work_id, media_type, server_item_id, library_id, title, year, overview, genres, tags, "
    "studios, path, tmdb_id, imdb_id) SELECT nextval('item_id_seq'), work_id, media_type, md5(i::text), 'library', "
    f"{_WORDS.format(count=3)}, 1950 + i % 75, {_WORDS.format(count=60)}, '{{Drama,Comedy}}', '{{}}', '{{A Studio}}', "
    f"'/media/' || md5(i::text) || '.mkv', i, 'tt' || i FROM {_TITLES}",
    "INSERT INTO episodes (item_id, series_item_id, work_id, server_item_id, library_id, season, number, title, "
    "air_date, runtime_minutes, path) SELECT nextval('item_id_seq'), t.item_id, t.work_id, md5('e' || i), 'library', "
    f"i / 10, i % 10, {_WORDS.format(count=3)}, '2020-01-01', 45, '/media/' || md5('e' || i) || '.mkv' "
    "FROM titles t, generate_series(1, :per_series) i WHERE t.media_type = 'series'",
    'INSERT INTO tmdb_metadata (work_id, tmdb_id, overview, genres, keywords, "cast", directors, creators, writers, '
    "composers, cinematographers, companies, networks, countries, languages, recommended_tmdb_ids) SELECT work_id, i, "
    f"{_WORDS.format(count=60)}, '{{Drama}}', string_to_array({_WORDS.format(count=15)}, ' '), (SELECT jsonb_agg("
    "jsonb_build_object('id', n, 'name', md5(n::text), 'character', md5((n + i)::text))) FROM generate_series(1, 20) n), "
    "'{Somebody}', '{}', '{Somebody}', '{}', '{}', '[]', '[]', '{US}', '{en}', "
    f"ARRAY(SELECT (random() * 1e6)::bigint FROM generate_series(1, 20 + i * 0)) FROM {_TITLES}",
    'INSERT INTO enriched_metadata (work_id, media_type, title, overview, genres, keywords, "cast", directors, '
    f"creators, companies, networks, countries, streams, sources) SELECT work_id, media_type, {_WORDS.format(count=3)}, "
    f"{_WORDS.format(count=60)}, '{{Drama}}', string_to_array({_WORDS.format(count=15)}, ' '), '{{A,B,C}}', '{{D}}', "
    f"'{{}}', '{{}}', '{{}}', '{{US}}', '{{}}', '{{\"title\": \"tmdb\"}}' FROM {_TITLES}",
    "INSERT INTO fetches (source, kind, item, outcome, attempts, due_at) SELECT source, media_type, work_id, 'ok', 1, "
    f"now() FROM {_TITLES}, unnest(ARRAY['tmdb', 'omdb', 'mdblist']) source",
    f"INSERT INTO embedding_models (model_key, dimensions, activated_at) VALUES ('model', {DIMENSIONS}, now())",
    "INSERT INTO embeddings (model_key, work_id, text_hash, vector) SELECT 'model', work_id, md5(i::text), "
    f"ARRAY(SELECT random() - 0.5 FROM generate_series(1, {DIMENSIONS} + i * 0))::real[]::halfvec FROM {_TITLES}",
    "INSERT INTO users (user_id, partition_key, name, is_administrator, is_hidden, is_disabled, all_libraries, "
    "library_ids, blocked_tags, allowed_tags, open_library_ids, excluded_folders) SELECT 'user' || i, 'user' || i, "
    "'User ' || i, false, false, false, true, '{}', '{}', '{}', '{}', '{}' FROM generate_series(1, :users) i",
    "INSERT INTO watch_state (user_id, item_id, work_id, is_episode, played, play_count, position_share, favorite, "
    "last_played_at) SELECT u.user_id, i.item_id, i.work_id, i.is_episode, true, 1, 1, false, now() FROM users u, "
    "LATERAL (SELECT item_id, work_id, is_episode FROM items WHERE length(u.user_id) > 0 "
    f"ORDER BY md5(item_id::text || u.user_id) LIMIT {PLAYS_PER_USER}) i",
    "INSERT INTO plays (user_id, item_id, played_at, work_id, is_episode, play_count, completion) SELECT user_id, "
    "item_id, now() - random() * interval '900 days', work_id, is_episode, 1, 1 FROM watch_state",
    "INSERT INTO ratings (user_id, source, work_id, item_id, rating, rated_at) SELECT user_id, 'trakt', work_id, "
    "item_id, 8, now() FROM (SELECT *, row_number() OVER (PARTITION BY user_id ORDER BY item_id) AS n FROM watch_state) "
    f"s WHERE n <= {RATINGS_PER_USER}",
    "INSERT INTO taste_weights (user_id, work_id, media_type, weight) SELECT user_id, work_id, media_type, random() FROM "
    f"users, LATERAL (SELECT work_id, media_type FROM works ORDER BY work_id LIMIT {WEIGHTS_PER_USER}) one",
    "INSERT INTO recommendations (user_id, media_type, rank, work_id, item_id, score, components, because, is_cold) "
    "SELECT user_id, 'movie', i, i, i, random(), '{\"similarity\": 0.5, \"crowd\": 0.25, \"rating\": 0.7}', '{1,2,3}', "
    "false FROM users, generate_series(1, least(50, :movies)) i",
]


def main() -> int:
    """Fill a database, back it up, and print the figures and the verdict."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--movies", type=int, default=10_000)
    parser.add_argument("--episodes", type=int, default=100_000)
    parser.add_argument("--users", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="aperture-benchmark-") as folder:
        home = Path(folder) / "home"
        settings = load_settings(home=home, timezone="UTC", backup_accept_unmounted=True)
        url = product_database_url(settings)
        try:
            started = time.monotonic()
            with open_engine(settings).begin() as connection:
                _fill(connection, options.movies, options.episodes, options.users)
                size = read_value(connection, "SELECT pg_database_size(current_database())")
            print(f"Filled a database of {in_words(size)} in {time.monotonic() - started:.0f} s")
            started = time.monotonic()
            report = create_backup(settings, Clock(), reason="command")
            seconds = time.monotonic() - started
        finally:
            close_engine(url)
            release_embedded_server(home / "postgres")
    manifest = report.backup.manifest
    stages = ", ".join(f"{stage} {taken:.1f} s" for stage, taken in report.seconds.items())
    print(
        f"{manifest.fingerprint.rows:,} rows; {in_words(manifest.text_bytes)} of text, {in_words(manifest.bytes)} file"
    )
    print(f"{stages} on {os.cpu_count()} cores (load {os.getloadavg()[0]:.1f})")
    good = manifest.proven is not None and seconds < LIMIT_SECONDS
    state = "proven" if manifest.proven else f"not proven: {manifest.unproven_because}"
    print(f"{'ok' if good else 'MISSED'}: {seconds:.1f} s, {seconds / LIMIT_SECONDS:.2f} of the limit; {state}")
    return 0 if good else 1


def _fill(connection: Connection, movies: int, episodes: int, users: int) -> None:
    series = max(episodes // EPISODES_PER_SERIES, 1)
    values = {"movies": movies, "series": series, "per_series": EPISODES_PER_SERIES, "users": users}
    for statement in STATEMENTS:
        used = {name: value for name, value in values.items() if f":{name}" in statement}
        execute(connection, statement, **used)


if __name__ == "__main__":
    sys.exit(main())
