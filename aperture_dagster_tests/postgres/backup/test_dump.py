"""Dumps that are damaged, cut off or not ours are refused with a sentence, and are never restored in part."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from aperture_dagster.postgres.backup.dump import END_MARK, BackupError, portable, restore_dump
from aperture_dagster.postgres.databases import scratch_database, server_connection
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.databases import run_statements
from aperture_dagster_tests.postgres.backup.conftest import ROWS

Write = Callable[[bytes], Path]
# Of a release since November 2026, by this program's client.
RECORDED = PROJECT / "aperture_dagster_tests" / "data" / "dumps" / "postgresql-17.12-by-pg_dump-18.4.sql"


def tables(url: str) -> int:
    statement = "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'\\:\\:regnamespace"
    ((count,),) = run_statements(url, statement)
    return int(str(count))


def plain(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://")


def test_only_a_whole_and_harmless_dump_is_restored(
    postgres: str, dump: bytes, dump_file: Write, tmp_path: Path, subtests: pytest.Subtests
):
    data, end = dump.index(b"COPY public.facts"), dump.index(END_MARK)
    between_rows = dump.index(b"\n", dump.index(b"fact 500")) + 1
    after_last_row = dump.rindex(b"\\.\n") + 3
    whole = gzip.compress(dump, 1)
    random_places = [random.Random(3).randrange(1, len(whole)) for _ in range(2)]
    owned = f"\\! touch {tmp_path}/owned\n".encode()
    quoted = f"\\unrestrict `touch {tmp_path}/owned`\n".encode()
    bad: dict[str, bytes] = {
        **{f"the file cut at {place}": whole[:place] for place in [0, *random_places]},
        **{
            f"the dump cut at {place}": gzip.compress(dump[:place], 1)
            for place in (between_rows - 3, after_last_row, end)
        },
        "damaged": whole[:5000] + b"\0\0\0" + whole[5003:],
        "not compressed": dump,
        "a command in the middle": gzip.compress(dump[:data] + owned + dump[data:], 1),
        "a command in the key": gzip.compress(dump[:data] + quoted + dump[data:], 1),
        "a command after the end": gzip.compress(dump + owned, 1),
        "an error of the server": gzip.compress(dump[:data] + b"SELECT nothing;\n" + dump[data:], 1),
    }
    path = tmp_path / "bad.sql.gz"
    with server_connection(postgres) as server, scratch_database(server, postgres) as url:
        for what, content in bad.items():
            path.write_bytes(content)
            with subtests.test(what), pytest.raises(BackupError):
                restore_dump(url, path)
            assert tables(plain(url)) == 0, what
        assert not (tmp_path / "owned").exists()
        with pytest.raises(BackupError, match=r'psql failed: column "nothing" does not exist'):
            restore_dump(url, path)
        # Texts that look like commands or like the end are none.
        restore_dump(url, dump_file(dump))
        assert run_statements(plain(url), "SELECT count(*) FROM facts WHERE name LIKE 'fact %'") == [(ROWS,)]


def test_a_recorded_dump_of_postgresql_17_12_is_restored_with_all_that_is_in_it(postgres: str, dump_file: Write):
    text = RECORDED.read_bytes()
    assert b"(pg_attver=48340376);" in text and b"(pg_attver=48340376, n_distinct=-0.5);" in text
    file = dump_file(b"".join(map(portable, text.splitlines(keepends=True))))
    with server_connection(postgres) as server, scratch_database(server, postgres) as scratch:
        restore_dump(scratch, file)
        url = plain(scratch)
        # A row that looks like what is left out.
        row = "ALTER TABLE ONLY public.plays ALTER COLUMN film SET (pg_attver=1);"
        assert run_statements(url, "SELECT * FROM plays") == [(1, row)]
        options = "SELECT attname, attoptions FROM pg_attribute WHERE attrelid = 'plays'::regclass AND attnum > 0"
        assert run_statements(url, options.replace("::", "\\:\\:")) == [("film", None), ("who's", ["n_distinct=-0.5"])]
        assert run_statements(url, 'INSERT INTO plays (film) VALUES (2) RETURNING "who\'s"') == [("anna",)]
