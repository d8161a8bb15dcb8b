"""Dumps that are damaged, cut off or not ours are refused with a sentence, and are never restored in part."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from aperture_dagster.storage.backup.dump_file import CHUNK, DumpCheck, check_dump
from aperture_dagster.storage.backup.errors import BadDump, ToolFailed
from aperture_dagster.storage.backup.restore_into import restore_into
from aperture_dagster.storage.backup.scratch import scratch_database
from aperture_dagster_tests.databases import run_statements
from aperture_dagster_tests.storage.backup.conftest import ROWS

Write = Callable[[bytes], Path]
MARK = b"-- PostgreSQL database dump complete"


def tables(url: str) -> int:
    statement = "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'\\:\\:regnamespace"
    ((count,),) = run_statements(url, statement)
    return int(str(count))


def test_a_dump_with_texts_that_look_like_commands_is_accepted(dump: bytes, dump_file: Write):
    contents = check_dump(dump_file(dump))
    assert contents.text_bytes == len(dump)
    assert contents.sequences["public.works_work_id_seq"] == (ROWS, True)
    assert contents.sequences["public.item_id_seq"] == (1, False)
    # Chunks may end anywhere.
    for size in (1, 7, 64):
        check = DumpCheck(Path("dump"))
        for start in range(0, len(dump), size):
            check.feed(dump[start : start + size])
        check.finish()


def test_a_dump_cut_anywhere_is_refused(dump: bytes, dump_file: Write):
    places = [random.Random(12).randrange(1, len(dump) - 80) for _ in range(20)]
    data = dump.index(b"COPY public.facts")
    between_rows = dump.index(b"\n", dump.index(b"fact 500")) + 1
    after_last_row = dump.rindex(b"\\.\n") + 3
    named = [0, data, between_rows, after_last_row, dump.index(MARK), dump.index(MARK) + len(MARK) + 1]
    for place in places + named:
        with pytest.raises(BadDump, match=r"is cut off|does not begin"):
            check_dump(dump_file(dump[:place]))


def test_a_file_cut_anywhere_is_refused(dump: bytes, tmp_path: Path):
    whole, path = gzip.compress(dump, 1), tmp_path / "dump.sql.gz"
    places = [random.Random(3).randrange(1, len(whole)) for _ in range(20)]
    for place in [*places, len(whole) - 1]:
        path.write_bytes(whole[:place])
        with pytest.raises(BadDump, match="is cut off"):
            check_dump(path)


def test_a_flipped_bit_is_noticed(dump: bytes, tmp_path: Path):
    whole, path, chance = gzip.compress(dump, 1), tmp_path / "dump.sql.gz", random.Random(5)
    # The first ten bytes hold the time and the system, which do not matter.
    for place in [chance.randrange(10, len(whole)) for _ in range(20)]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(BadDump):
            check_dump(path)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        # What a pipe from a failing pg_dump leaves.
        (gzip.compress(b""), "is cut off"),
        (b"-- PostgreSQL database dump\n", "not compressed"),
        (gzip.compress(b"CREATE TABLE a ();\n"), "does not begin"),
    ],
    ids=["empty", "empty-archive", "plain-text", "another-dump"],
)
def test_a_file_that_is_no_dump_is_refused(tmp_path: Path, content: bytes, why: str):
    path = tmp_path / "dump.sql.gz"
    path.write_bytes(content)
    with pytest.raises(BadDump, match=why):
        check_dump(path)


def test_data_after_the_end_is_refused(dump: bytes, dump_file: Write):
    path = dump_file(dump)
    path.write_bytes(path.read_bytes() + gzip.compress(rb"\! touch x"))
    with pytest.raises(BadDump, match="after its end"):
        check_dump(path)


@pytest.mark.parametrize(
    ("where", "command"),
    [
        (b"CREATE TABLE public.facts", b"\\! touch %s\n"),
        (b"CREATE TABLE public.facts", b"  \\! touch %s\n"),
        (b"CREATE TABLE public.facts", b"SELECT 1; \\unrestrict `touch %s`\n"),
        (b"CREATE TABLE public.facts", b"\\unrestrict `touch %s`\n"),
        (b"CREATE TABLE public.facts", b"COPY (SELECT 1) TO PROGRAM 'touch %s';\n"),
        # Within quotes, this is no data for psql.
        (b"CREATE TABLE public.facts", b"SELECT '\nCOPY x FROM stdin;\n'; \\unrestrict `touch %s`\n\\.\n"),
        (b"\\restrict", b"\\! touch %s\n"),
        (b"\\unrestrict", b"\\! touch %s\n"),
        (b"\\unrestrict", b"SELECT 1;\n"),
    ],
)
def test_a_dump_with_a_shell_escape_is_refused_and_nothing_runs(
    dump: bytes, dump_file: Write, tmp_path: Path, postgres: str, where: bytes, command: bytes
):
    made, place = tmp_path / "made", dump.rindex(b"\n" + where) + 1
    path = dump_file(dump[:place] + command.replace(b"%s", bytes(made)) + dump[place:])
    with pytest.raises(BadDump, match="not a complete backup of this program, and is not used"):
        check_dump(path)
    with pytest.raises(BadDump):
        restore_into(postgres.replace("+psycopg", ""), path)
    assert not made.exists()


def test_a_key_that_psql_would_run_is_refused(dump: bytes, dump_file: Write):
    key = dump.split(b"\\restrict ", 1)[1].split(b"\n", 1)[0]
    for wrong in (b"`touch x`", b"other", key + b" x", b""):
        with pytest.raises(BadDump):
            check_dump(dump_file(dump.replace(b"\\unrestrict " + key, b"\\unrestrict " + wrong)))


def test_a_bad_dump_leaves_no_table_although_psql_would_commit_it(dump: bytes, dump_file: Write, postgres: str):
    url = postgres.replace("+psycopg", "")
    between_rows = dump.index(b"\n", dump.index(b"fact 500")) + 1
    with scratch_database(url) as scratch:
        for cut in (dump[:between_rows], dump[: dump.rindex(b"\\.\n") + 3]):
            with pytest.raises(BadDump):
                restore_into(scratch, dump_file(cut))
            assert tables(scratch) == 0
        # An error of the server, after tables were created.
        with pytest.raises(ToolFailed, match="nonsense"):
            restore_into(scratch, dump_file(dump.replace(b"\nALTER TABLE", b"\nSELECT nonsense();\nALTER TABLE", 1)))
        assert tables(scratch) == 0
        progress: list[tuple[int, int]] = []
        path = dump_file(dump)
        restore_into(scratch, path, progress=lambda *one: progress.append(one))
        assert tables(scratch) > 40 and progress[-1] == (path.stat().st_size,) * 2


def test_a_dump_of_any_size_is_checked_in_constant_memory():
    check = DumpCheck(Path("dump"))
    check.feed(b"\\restrict abc\nCOPY public.x (a) FROM stdin;\n")
    for _ in range(8):
        check.feed(b"x" * CHUNK)
        assert len(check._pending) < 100
    check.feed(b"\n\\.\n")
    with pytest.raises(BadDump, match="too long"):
        for _ in range(20):
            check.feed(b"x" * CHUNK)
