"""Dumps that are damaged, cut off or not ours are refused with a sentence, and are never restored in part."""

from __future__ import annotations

import functools
import gzip
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from aperture_dagster.postgres.backup.dump import END_MARK, inspect_dump, portable, restore_dump
from aperture_dagster.postgres.backup.errors import BackupError
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
    unknown = b"COPY public.nothing (a) FROM stdin;\n\\.\n"
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
        "an error of the server": gzip.compress(dump[:data] + unknown + dump[data:], 1),
    }
    path = tmp_path / "bad.sql.gz"
    with server_connection(postgres) as server, scratch_database(server, postgres) as url:
        for what, content in bad.items():
            path.write_bytes(content)
            with subtests.test(what), pytest.raises(BackupError):
                restore_dump(url, path)
            assert tables(plain(url)) == 0, what
        assert not (tmp_path / "owned").exists()
        with pytest.raises(BackupError, match=r'psql failed: relation "public.nothing" does not exist'):
            restore_dump(url, path)
        # Texts that look like commands or like the end are none.
        restore_dump(url, dump_file(dump))
        assert run_statements(plain(url), "SELECT count(*) FROM facts WHERE name LIKE 'fact %'") == [(ROWS,)]


HOSTILE = {
    "a program that reads rows": "COPY public.facts (name, value) TO PROGRAM 'touch {owned}';",
    "a program that makes rows": "COPY public.facts (name, value) FROM PROGRAM 'touch {owned}';",
    "rows into a file": "COPY public.facts (name, value) TO '{owned}';",
    "a command of psql": "\\! touch {owned}",
    "a command of psql behind a statement": "SET row_security = off; \\! touch {owned}",
    "a copy by psql": "\\copy public.facts TO PROGRAM 'touch {owned}'",
    "a function": "CREATE FUNCTION public.now() RETURNS int LANGUAGE sql AS 'SELECT 1';",
    "a procedure at once": "DO 'BEGIN NULL; END';",
    "a procedure in dollars": "DO $$ BEGIN NULL; END $$;",
    "an extension": "CREATE EXTENSION plpython3u;",
    "another schema": "CREATE TABLE other.facts (a int);",
    "a table of the system": "COPY pg_catalog.pg_authid (rolname) FROM stdin;\n\\.",
    "a trigger": "CREATE TRIGGER t BEFORE INSERT ON public.facts EXECUTE FUNCTION public.f();",
    "a rule": "CREATE RULE r AS ON INSERT TO public.facts DO ALSO DELETE FROM public.users;",
    "another role": "SET ROLE postgres;",
    "another user": "SET SESSION AUTHORIZATION postgres;",
    "a right": "GRANT pg_execute_server_program TO public;",
    "a setting of the server": "ALTER SYSTEM SET archive_command = 'touch {owned}';",
    "strings with escapes": "SET standard_conforming_strings = off;",
    "letters that hide a quotation mark": "SET client_encoding = 'SJIS';",
    "an escaped string": "COMMENT ON TABLE public.facts IS E'\\'; DROP TABLE public.facts; --';",
    "a comment over lines": "/* SET row_security = off;\n*/ SET row_security = off;",
    "a file in a constraint": "ALTER TABLE ONLY public.facts ADD CONSTRAINT c CHECK (pg_read_file('x') IS NULL);",
    "a file in a default": "CREATE TABLE public.f (a text DEFAULT \"pg_read_file\" ('x'));",
    "a query in a view": "CREATE VIEW public.v AS SELECT pg_catalog . query_to_xml('COPY', true, true, '');",
    "a statement within parentheses": "CREATE VIEW public.v AS SELECT (1; SET row_security = off;",
    "a table in parentheses": "CREATE TABLE public.f (a int; DROP TABLE public.facts);",
    "the end of rows in another form": "COPY public.facts (name) FROM stdin;\n\\.\r\nDROP TABLE public.facts;\n\\.",
    "rows that go on behind the statement": "COPY public.facts (name, value) FROM stdin; DROP TABLE public.facts;\n\\.",
    "a name over lines": 'SET row_security = off; "\n; DROP TABLE public.facts; "',
}


def test_a_dump_with_any_other_statement_is_refused_with_its_line_and_none_of_it_is_run(
    postgres: str, dump: bytes, tmp_path: Path, subtests: pytest.Subtests
):
    data, path, owned = dump.index(b"COPY public.facts"), tmp_path / "hostile.sql.gz", tmp_path / "owned"
    line = dump[:data].count(b"\n") + 1
    with server_connection(postgres) as server, scratch_database(server, postgres) as url:
        restore = functools.partial(restore_dump, url)
        for what, statement in HOSTILE.items():
            added = statement.replace("{owned}", str(owned)).encode() + b"\n"
            path.write_bytes(gzip.compress(dump[:data] + added + dump[data:], 1))
            with subtests.test(what):
                # One of them is enough to see that a restore inspects what it runs.
                reads = [inspect_dump, restore] if what == next(iter(HOSTILE)) else [inspect_dump]
                for read in reads:
                    with pytest.raises(BackupError, match=r"no backup of this program does, in line (\d+) ") as raised:
                        read(path)
                    found = re.search(r"in line (\d+) ", str(raised.value))
                    assert found is not None and line <= int(found[1]) <= line + added.count(b"\n")
                assert tables(plain(url)) == 0 and not owned.exists()
        # psql would run what is left at the end.
        path.write_bytes(gzip.compress(dump.replace(END_MARK, b"DROP TABLE public.facts\n" + END_MARK), 1))
        with pytest.raises(BackupError, match="no backup of this program does"):
            restore_dump(url, path)
        assert tables(plain(url)) == 0


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
