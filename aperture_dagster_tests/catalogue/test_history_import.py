"""``aperture history import`` shows what it would import, imports it once, and keeps it through syncs."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from aperture_dagster.catalogue.history_import import records
from aperture_dagster.catalogue.history_import.records import read_records
from aperture_dagster.cli.main import main
from aperture_dagster.media_server.records import ServerEpisode, ServerTitle
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster_tests.catalogue.viewers import histories, history_of
from aperture_dagster_tests.programs import run_program
from aperture_dagster_tests.shelf import Shelf, film, played

Import = Callable[..., str]
DAY = datetime(2025, 3, 1, 20, tzinfo=UTC)


@pytest.fixture
def shelf(database: Database) -> Shelf:
    """Four films, two of which have the same name, and a series of two episodes."""
    filled = Shelf(database)
    filled.users("ann", "bob")
    filled.films(
        film(1, title="Alien", year=1979, imdb_id="tt0078748", runtime_minutes=100),
        film(2, title="Solaris", year=1972, runtime_minutes=100),
        film(3, title="Solaris", year=2002, runtime_minutes=100),
        film(4, title="Amélie", year=2001, tmdb_id=194, runtime_minutes=100),
    )
    filled.series(ServerTitle("show", "Dark", tmdb_id=70523, tvdb_id=334824, year=2017))
    filled.episodes(
        *(ServerEpisode(f"e{n}", "show", "E", season=1, number=n, runtime_minutes=50) for n in (1, 2))
    )  # fmt: skip
    return filled


@pytest.fixture
def run(shelf: Shelf, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Import:
    """Run the command on files, and return what it prints."""
    assert settings.database_url is not None
    for name, value in (
        ("DATABASE_URL", settings.database_url.get_secret_value()), ("HOME", str(tmp_path)), ("TIMEZONE", "UTC"),
    ):  # fmt: skip
        monkeypatch.setenv(f"APERTURE_{name}", value)
    monkeypatch.setenv("COLUMNS", "300")

    def running(*arguments: Any, code: int = 0) -> str:
        done = CliRunner().invoke(main, ["history", "import", *map(str, arguments)])
        assert done.exit_code == code, done.output
        return done.output

    return running


def plays(shelf: Shelf, user: str = "ann") -> list[tuple[str, datetime, str | None]]:
    statement = """
        SELECT i.server_item_id, p.played_at, p.imported_from FROM plays p JOIN items i USING (item_id)
        WHERE p.user_id = :user ORDER BY p.played_at, i.server_item_id"""
    return [(one["server_item_id"], one["played_at"], one["imported_from"]) for one in shelf.rows(statement, user=user)]


def trakt(**what: Any) -> dict[str, Any]:
    title = {"title": "?", "year": None, "ids": {"trakt": 1, "slug": "x"} | what.pop("ids", {})}
    kind = "show" if "episode" in what or what.get("type") == "show" else "movie"
    return {"id": 5, "watched_at": DAY.isoformat(), "type": kind, kind: title | what.pop("title", {})} | what


@pytest.fixture
def trakt_zip(tmp_path: Path) -> Path:
    path = tmp_path / "export.zip"
    history = [
        trakt(ids={"tmdb": 1}, watched_at="2025-03-01T20:00:00.000Z"),
        trakt(ids={"tmdb": 777}, title={"title": "Amelie", "year": 2001}),
        trakt(title={"title": "AMELIE", "year": 2001}, watched_at="2025-03-02T20:00:00.000Z"),
        trakt(ids={"tvdb": 334824}, episode={"season": 1, "number": 2, "ids": {}}),
        trakt(ids={"tvdb": 334824}, episode={"season": 3, "number": 9, "ids": {}}, title={"title": "Dark"}),
        trakt(ids={"tmdb": 1}, watched_at=None),
        {"watched_at": "yesterday", "movie": {"title": "Alien", "ids": {}}},
    ]
    rated = {"rated_at": "2024-01-01T00:00:00.000Z", "rating": 9, "watched_at": None}
    ratings = [trakt(ids={"tmdb": 1}, **rated), trakt(ids={"tmdb": 194}, **rated | {"rating": 99})]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("watched-history-1.json", json.dumps(history[:4]))
        archive.writestr("x/watched/history-2.json", json.dumps(history[4:], indent=2))
        # The same play again.
        archive.writestr("history-3.json", json.dumps([history[0]]))
        archive.writestr("ratings-movies.json", json.dumps(ratings))
        archive.writestr("user-profile.json", "{}")
    return path


def test_of_many_titles_that_are_left_out_some_are_named_each_once(run: Import, tmp_path: Path):
    unknown = [trakt(title={"title": f"Film {number // 2}"}, watched_at="2999-01-01") for number in range(14)]
    (tmp_path / "watched-history-1.json").write_text(json.dumps(unknown))
    shown = run(tmp_path / "watched-history-1.json", "--user", "ann")
    assert "14 rows left out: dated in the future (Film 0, Film 1, Film 2, Film 3, Film 4, …)" in shown


def test_a_trakt_export_is_shown_first_and_imported_once(shelf: Shelf, run: Import, trakt_zip: Path):
    shown = run(trakt_zip, "--user", "ann")
    assert [line.split() for line in shown.splitlines() if line.startswith(" ann")] == [
        ["ann", "3", "2", "0", "1", "0", "1"]
    ]
    for reason in (
        "1 row left out: without a date (x/watched/history-2.json, entry 2)",
        "1 row left out: cannot be read: 'yesterday' is no date (x/watched/history-2.json, entry 3)",
        "1 row left out: cannot be read: a rating of 99 (ratings-movies.json, entry 2)",
        "Nothing was changed",
    ):
        assert reason in shown
    assert plays(shelf) == [] and histories(shelf).empty
    assert "Plays imported" in run(trakt_zip, "--user", "ann", "--apply")
    assert plays(shelf) == [
        ("e2", DAY, "trakt"), ("film-1", DAY, "trakt"), ("film-4", DAY + timedelta(days=1), "trakt")
    ]  # fmt: skip
    again = run(trakt_zip, "--user", "ann", "--apply")
    assert [line.split() for line in again.splitlines() if line.startswith(" ann")] == [
        ["ann", "0", "0", "0", "0", "0", "7"]
    ]
    assert len(plays(shelf)) == 3
    # They count for the taste.
    one = history_of(shelf, "film-1")
    assert (one["plays"], one["completion"], one["rating"], one["last_played_at"]) == (1, 1, 9, DAY)
    assert history_of(shelf, "show")["episodes_played"] == 1
    # Without a name, nobody knows whose it is.
    assert "the file does not say whose it is: --user NAME" in run(trakt_zip, code=1)


def test_an_imported_play_survives_syncs_and_counts_once_if_the_server_reports_it_too(
    shelf: Shelf, run: Import, tmp_path: Path
):
    path = tmp_path / "history.json"
    moments = [DAY - timedelta(days=400), DAY, DAY + timedelta(minutes=90)]
    path.write_text(json.dumps([trakt(ids={"imdb": "tt0078748"}, watched_at=one.isoformat()) for one in moments]))
    shelf.history("ann", played("film-1", last_played_at=DAY + timedelta(days=300)))
    assert [line.split()[1::5] for line in run(path, "--user", "ann", "--apply").splitlines() if " ann" in line] == [
        ["2", "1"]
    ], "the third is the end of the second"
    shelf.history("ann", played("film-1", played=False, play_count=0, last_played_at=None))
    assert [one[1:] for one in plays(shelf)] == [
        (moments[0], "trakt"), (DAY, "trakt"), (DAY + timedelta(days=300), None)
    ]  # fmt: skip
    assert history_of(shelf, "film-1")["plays"] == 2, "the mark on the server was taken back"
    # The server had it, too, but was read later.
    shelf.history("ann", played("film-1", last_played_at=DAY - timedelta(hours=2)))
    assert [one[1:] for one in plays(shelf)] == [
        (moments[0], "trakt"), (DAY - timedelta(hours=2), None), (DAY + timedelta(days=300), None)
    ]  # fmt: skip
    run(path, "--user", "ann", "--apply")
    assert len(plays(shelf)) == 3
    assert histories(shelf, "bob").empty


BACKUP = [
    ("0001-01-01 00:00:00", "ann", "film-1", "Movie", "Alien", "DirectPlay", "Web", "TV", "5900"),
    # Its id decides between two films of that name.
    ("2025-03-01 21:00:00", "ANN", "film-3", "Movie", "Solaris", "DirectPlay", "Web", "TV", "5900"),
    ("2025-03-02 20:00:00Z", "ann", "other", "Episode", "Dark - s01e01 - Secrets", "DirectPlay", "Web", "TV", "3000"),
    ("2025-03-03 20:00:00.1234567", "ann", "film-1", "Movie", "Alien", "DirectPlay", "Web", "TV", "600"),
    ("2025-03-03 20:00:00", "ann", "x", "Movie", "Solaris", "DirectPlay", "Web", "TV", "5900"),
    ("2025-03-03 20:00:00", "carla", "film-1", "Movie", "Alien", "DirectPlay", "Web", "TV", "5900"),
    ("2025-03-03 20:00:00", "ann", "song", "Audio", "ABBA - Waterloo (Waterloo)", "DirectPlay", "Web", "TV", "170"),
]  # fmt: skip


def test_a_backup_of_playback_reporting_is_read(shelf: Shelf, run: Import, tmp_path: Path):
    path = tmp_path / "backup.tsv"
    path.write_text("\n".join(["\t".join(row) for row in BACKUP] + ["cut\toff", ""]))
    shown = run(path, "--user", "carla=Bob", "--apply")
    assert plays(shelf) == [
        ("film-3", DAY + timedelta(hours=1), "playback_reporting"),
        ("e1", DAY + timedelta(days=1), "playback_reporting"),
    ]
    assert plays(shelf, "bob") == [("film-1", DAY + timedelta(days=2), "playback_reporting")]
    for reason in (
        "not watched to the end (Alien)",
        "it may be another title, or several (Solaris)",
        "no film or episode",
        "it is damaged",
    ):
        assert reason in shown
    assert "nobody here is called 'carla': --user carla=NAME" in run(path)


def tautulli(**facts: Any) -> dict[str, Any]:
    usual = {
        "date": int(DAY.timestamp()), "started": int(DAY.timestamp()), "user": "ann@plex", "friendly_name": "Ann P.",
        "media_type": "movie", "title": "Alien", "year": 1979, "guid": "plex://movie/5d77", "watched_status": 1,
        "grandparent_title": "", "parent_media_index": "", "media_index": "", "percent_complete": 97,
    }  # fmt: skip
    return usual | facts


def test_a_history_of_tautulli_is_read(shelf: Shelf, run: Import, tmp_path: Path):
    rows = [
        tautulli(),
        tautulli(title="Renamed", guid="com.plexapp.agents.themoviedb://194?lang=en"),
        tautulli(media_type="episode", title="Lies", grandparent_title="Renamed", year=2018, parent_media_index=1,
                 media_index=2, guid="com.plexapp.agents.thetvdb://334824/1/2?lang=en"),
        tautulli(media_type="episode", title="Secrets", grandparent_title="Dark", year=2019, parent_media_index="1",
                 media_index="1"),
        tautulli(title="Solaris", year=2002, watched_status=0.5),
        tautulli(media_type="track", title="Waterloo"),
        tautulli(media_index="?", media_type="episode"),
        tautulli(started=int((datetime.now(UTC) + timedelta(days=9)).timestamp())),
        tautulli(title=300, user=5),
        tautulli(user="ann\0@plex", title="Alien\0", started=1, date=1),
    ]  # fmt: skip
    path = tmp_path / "history.json"
    answer = {"response": {"result": "success", "data": {"recordsTotal": 7, "data": rows, "draw": 1}}}
    path.write_text(json.dumps(answer))
    shown = run(path, "--apply", "--user", "ANN@plex=ann")
    assert {one[0] for one in plays(shelf)} == {"film-1", "film-4", "e1", "e2"}
    assert "without a date (Alien (1979))" in shown
    for reason in (
        "not watched to the end",
        "no film or episode",
        "cannot be read: invalid literal",
        "in the future",
        "'5'",
    ):
        assert reason in shown


def test_a_row_that_lacks_or_mistypes_something_costs_itself(shelf: Shelf, run: Import, tmp_path: Path):
    path = tmp_path / "history.json"
    show = {"title": "Dark", "year": 2017, "ids": {}}
    at = DAY.isoformat()
    bad = [
        {"watched_at": at, "show": show, "episode": {"season": None, "number": 1}},
        {"watched_at": at, "show": show, "episode": {"season": "one", "number": 1}},
        {"watched_at": "0001-01-01T00:00:00Z", "show": show, "episode": {"season": 1, "number": 1}},
        {"watched_at": at, "movie": {"title": 300, "ids": {"imdb": 5}}},
    ]
    good = {"watched_at": at, "show": show, "episode": {"season": 1, "number": 1}}
    path.write_text(json.dumps([*bad, good]))
    run(path, "--user", "ann", "--apply")
    assert [one[0] for one in plays(shelf)] == ["e1"]


def test_a_file_of_another_kind_is_refused(run: Import, tmp_path: Path):
    for name, content in (("a.json", '[{"a": 1}]'), ("b.txt", "hello"), ("c.zip", ""), ("d.json", '[{"movie": ')):
        path = tmp_path / name
        path.write_text(content)
        message = run(path, code=1)
        assert name in message and "Traceback" not in message


def test_a_small_zip_that_unpacks_to_a_large_file_takes_little_memory_and_is_refused(tmp_path: Path):
    path = tmp_path / "export.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("history-1.json", "w") as file:
        file.write(b"[")
        for _ in range(9):
            file.write(b'{"movie":[[],[],[],[],[],[],[],[],[]]},' * 25_000)
    assert path.stat().st_size < 100_000
    program = """
import resource, sys
from pathlib import Path
from zoneinfo import ZoneInfo
from aperture_dagster.catalogue.history_import import records
from aperture_dagster.catalogue.history_import.files import read_history_file
from aperture_dagster.model.errors import OperatorError
records.LARGEST_BYTES = 7_000_000
before, rows = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0
try:
    for row in read_history_file(Path(sys.argv[1]), ZoneInfo("UTC")):
        rows += 1
except OperatorError as error:
    print(error)
print(rows > 150_000, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024 < 20)
"""
    done = run_program(program, str(path))
    assert done.stdout.splitlines() == [
        f"{path.name} holds more than 7 MB. Split it, and import its parts.",
        "True True",
    ]


def packed(path: Path, files: dict[str, str], how: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_what_a_zip_could_hide_costs_a_sentence(run: Import, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    many = packed(tmp_path / "many.zip", {f"history-{number}.json": "[]" for number in range(1001)})
    assert "has more than 1,000 files. Unpack it" in run(many, code=1)
    odd = packed(tmp_path / "odd.zip", {"history-1.json": "[]"}, zipfile.ZIP_LZMA)
    assert "packed in an unusual way" in run(odd, code=1)
    endless = packed(tmp_path / "endless.zip", {"history-1.json": '[{"movie": "' + "x" * 1_000_000})
    assert "history-1.json is damaged at entry 1" in run(endless, code=1)
    deep = packed(tmp_path / "deep.zip", {"history-1.json": "[" * 100_000})
    assert "history-1.json is damaged at entry 1" in run(deep, code=1)
    line = tmp_path / "line.tsv"
    line.write_text("x" * 1_000_000)
    assert "line 1 does not end" in run(line, code=1)
    monkeypatch.setattr(records, "LARGEST_ZIP", 10)
    assert "Unpack it, and import its files" in run(many, code=1)


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 65_536])
def test_records_are_the_same_however_a_file_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int):
    monkeypatch.setattr(records, "CHUNK", chunk)
    path = tmp_path / "a.json"
    written = [{"name": 'Amélie 千 \\ "data": [', "n": 12.5}, 12, -3.25e2, None, {}, [1, [2]], "x]", 123456]
    for text in (
        json.dumps(written),
        json.dumps(written, indent=3, ensure_ascii=False),
        "\ufeff  " + json.dumps(written),
    ):
        path.write_text(text, encoding="utf-8")
        assert [one for _, one in read_records(path)] == written
    answer = {"response": {"message": 'a "data": [1] b', "data": {"total": 2, "data": written}}, "after": [1]}
    path.write_text(json.dumps(answer))
    assert [one for _, one in read_records(path)] == written
    path.write_text("a\tb\r\n\r\n" + "\t".join("123456789") + "\r\n\n")
    assert [(where, one is None) for where, one in read_records(path)] == [
        ("a.json, line 1", True),
        ("a.json, line 3", False),
    ]
    for empty in ("", "  \n", "[]", "{}", '{"a": 1}'):
        path.write_text(empty)
        assert [*read_records(path)] == []
    for damaged in ("[1, 2", "[1 2]", "[,1]", "[1,]", "[1, tru]"):
        path.write_text(damaged)
        with pytest.raises(OperatorError, match=r"a\.json is damaged"):
            list(read_records(path))
