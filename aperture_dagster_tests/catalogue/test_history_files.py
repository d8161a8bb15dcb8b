"""Every kind of history that can be imported is read as its program means it, and no file costs more than itself."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from aperture_dagster.catalogue.history_import.columns import Reading, parse_rating
from aperture_dagster.catalogue.history_import.files import read_history_file, survey_file
from aperture_dagster.catalogue.history_import.records import Limits
from aperture_dagster.catalogue.history_import.rows import PastRow, SkippedRow
from aperture_dagster.model.errors import OperatorError
from aperture_dagster_tests.marks import at_night
from aperture_dagster_tests.programs import run_program

ZONE = ZoneInfo("Europe/Berlin")
READING = Reading(scale=10)


def packed(path: Path, files: dict[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(path: Path, reading: Reading = READING) -> list[PastRow]:
    return [row for row in read_history_file(path, ZONE, reading) if isinstance(row, PastRow)]


def skipped(path: Path, reading: Reading = READING) -> list[str]:
    return [row.reason for row in read_history_file(path, ZONE, reading) if isinstance(row, SkippedRow)]


def said(row: PastRow) -> tuple[object, ...]:
    return row.sign, row.media_type, row.title, row.year, row.rating, row.at and row.at.date().isoformat()


LETTERBOXD = "Date,Name,Year,Letterboxd URI\n"


def test_an_export_of_letterboxd_is_read_file_by_file(tmp_path: Path):
    path = packed(
        tmp_path / "letterboxd-ann-2024.zip",
        {
            "profile.csv": "Date Joined,Username\n2020-01-01,ann\n",
            "watched.csv": LETTERBOXD + "2024-03-06,Alien,1979,https://boxd.it/2awY\n",
            "diary.csv": "Date,Name,Year,Letterboxd URI,Rating,Rewatch,Tags,Watched Date\n"
            '2024-03-06,"Amélie, a film",2001,https://boxd.it/a,4.5,Yes,"a, b",2024-03-04\n',
            "ratings.csv": "Date,Name,Year,Letterboxd URI,Rating\n2024-03-07,Alien,1979,https://boxd.it/2awY,3.5\n",
            "watchlist.csv": LETTERBOXD + "2024-03-06,Solaris,1972,https://boxd.it/b\n",
            "likes/films.csv": LETTERBOXD + "2024-03-06,Alien,1979,https://boxd.it/2awY\n",
            "deleted/diary.csv": LETTERBOXD + "2024-03-06,Deleted,1979,https://boxd.it/c\n",
            "lists/best.csv": "Letterboxd list export v7\n",
            "reviews.csv": "Date,Name,Year,Letterboxd URI,Rating,Rewatch,Review\n",
        },
    )
    rows = read(path)
    assert sorted(map(said, rows), key=str) == sorted(
        [
            ("seen", "movie", "Amélie, a film", 2001, 9, "2024-03-04"),
            ("liked", "movie", "Alien", 1979, None, "2024-03-06"),
            ("rated", "movie", "Alien", 1979, 7, "2024-03-07"),
            ("seen", "movie", "Alien", 1979, None, "2024-03-06"),
            ("wanted", "movie", "Solaris", 1972, None, "2024-03-06"),
        ],
        key=str,
    )
    assert {row.title: row.precision for row in rows if row.sign == "seen"} == {
        "Amélie, a film": "day", "Alien": "logged"
    }  # fmt: skip
    survey = survey_file(path)
    assert (survey.sources, survey.needs) == ({"letterboxd": 5}, set())


def test_ratings_and_a_watchlist_of_imdb_are_read(tmp_path: Path):
    ratings = written(
        tmp_path / "ratings.csv",
        "Const,Your Rating,Date Rated,Title,Original Title,URL,Title Type,IMDb Rating,Runtime (mins),Year\n"
        "tt0078748,9,2024-03-06,Alien,Alien,https://www.imdb.com/title/tt0078748,Movie,8.5,117,1979\n"
        "tt5753856,10,2024-03-07,Dark,Dark,https://x,TV Series,8.7,60,2017\n"
        "tt6305578,8,2024-03-07,Dark: Lies,Lies,https://x,TV Episode,8.7,60,2017\n",
    )
    rows = read(ratings)
    assert [(said(row), row.ids.imdb_id, row.episode_imdb_id) for row in rows] == [
        (("rated", "movie", "Alien", 1979, 9, "2024-03-06"), "tt0078748", None),
        (("rated", "series", "Dark", 2017, 10, "2024-03-07"), "tt5753856", None),
        (("seen", "series", "Dark: Lies", None, None, "2024-03-07"), None, "tt6305578"),
    ], "the rating of an episode is not that of its series"
    assert not skipped(ratings)
    watchlist = written(
        tmp_path / "abc.csv",
        "Position,Const,Created,Modified,Description,Title,Title Type,IMDb Rating,Year,Your Rating,Date Rated\n"
        "1,tt0069293,2024-03-06,2024-03-06,,Solaris,Movie,7.9,1972,,\n"
        "2,tt0078748,2024-03-06,2024-03-06,,Alien,Movie,8.5,1979,9,2024-03-07\n",
    )
    assert [(row.sign, row.rating) for row in read(watchlist)] == [("wanted", None), ("rated", 9)]


def test_the_viewing_activity_of_netflix_is_read_once_the_order_of_its_dates_is_known(tmp_path: Path):
    head = "Title,Date\n"
    clear = written(
        tmp_path / "NetflixViewingHistory.csv",
        head + '"Dark: Season 2: Lies","6/3/24"\n"Alien: Romulus","12/31/23"\n"Stranger Things: Part: One","1/2/24"\n',
    )
    assert survey_file(clear).dates == "mdy"
    rows = read(clear, Reading(dates="mdy"))
    assert [
        (row.media_type, row.title, row.season, row.episode, row.at and row.at.date().isoformat()) for row in rows
    ] == [
        ("series", "Dark", 2, "Lies", "2024-06-03"),
        (None, "Alien: Romulus", None, None, "2023-12-31"),
        ("series", "Stranger Things", 1, "One", "2024-01-02"),
    ]
    unclear = written(tmp_path / "n.csv", head + "Alien,03/06/2024\nSolaris,04/06/2024\n")
    survey = survey_file(unclear)
    assert survey.needs == {"dates"} and survey.samples[0] == {"Title": "Alien", "Date": "03/06/2024"}
    assert skipped(unclear, Reading()) == ["a date that may begin with the day or with the month"] * 2
    assert [row.at and row.at.date().isoformat() for row in read(unclear, Reading(dates="dmy"))] == [
        "2024-06-03", "2024-06-04"
    ]  # fmt: skip
    german = written(tmp_path / "g.csv", head + "Alien,03.06.24\n")
    assert survey_file(german).needs == set() and said(read(german)[0])[-1] == "2024-06-03"


def test_exports_of_simkl_are_read_as_json_and_as_csv(tmp_path: Path):
    ids = {"simkl": 1, "imdb": "tt0078748", "tmdb": "348"}
    backup = {
        "movies": [
            {"added_to_watchlist_at": "2024-01-01T00:00:00Z", "last_watched_at": "2024-03-06T20:00:00Z",
             "user_rating": 8, "status": "completed", "movie": {"title": "Alien", "year": 1979, "ids": ids}},
            {"last_watched_at": None, "user_rating": None, "status": "plantowatch",
             "movie": {"title": "Solaris", "year": 1972, "ids": {}}},
        ],
        "shows": [
            {"last_watched_at": "2024-03-06T20:00:00Z", "user_rating": None, "status": "watching",
             "show": {"title": "Dark", "year": 2017, "ids": {"tvdb": 334824}},
             "seasons": [{"number": 1, "episodes": [{"number": 1},
                                                    {"number": 2, "watched_at": "2024-03-05T20:00:00Z"}]}]},
        ],
    }  # fmt: skip
    rows = read(packed(tmp_path / "simkl.zip", {"SimklBackup.json": json.dumps(backup)}))
    assert [(row.sign, row.title, row.season, row.number, row.rating) for row in rows] == [
        ("rated", "Alien", None, None, 8),
        ("seen", "Alien", None, None, None),
        ("wanted", "Solaris", None, None, None),
        ("seen", "Dark", 1, 1, None),
        ("seen", "Dark", 1, 2, None),
    ]
    assert (rows[0].ids.tmdb_id, rows[0].ids.imdb_id, rows[3].ids.tvdb_id) == (348, "tt0078748", 334824)
    table = written(
        tmp_path / "simkl.csv",
        "SIMKL_ID,Title,Type,Year,Watchlist,LastEpWatched,WatchedDate,Rating,Memo,TVDB,TMDB,IMDB\n"
        "1,Alien,movie,1979,completed,,2024-03-06 20:00:00,8,,,348,tt0078748\n"
        "2,Solaris,movie,1972,plantowatch,,,,,,,tt0069293\n3,Dark,tv,2017,dropped,s1e2,2024-03-06,,,334824,,\n",
    )
    assert [(row.sign, row.title, row.rating, row.ids.tmdb_id) for row in read(table)] == [
        ("seen", "Alien", 8, 348), ("wanted", "Solaris", None, None)
    ]  # fmt: skip


def test_mdblist_and_plain_tables_are_read_by_their_headings(tmp_path: Path):
    lists = {"movies": [{"mdblist_id": 1, "imdb_id": "tt0078748", "tmdb_id": 348, "title": "Alien", "rating": 8,
                         "last_watched": "2024-03-06"}], "shows": [{"tvdb_id": 334824, "title": "Dark"}]}  # fmt: skip
    rows = read(written(tmp_path / "mdblist.json", json.dumps(lists)))
    assert [(row.media_type, row.ids.tvdb_id, row.rating) for row in rows] == [
        ("movie", None, 8), ("series", 334824, None)
    ]  # fmt: skip
    flat = written(tmp_path / "a.csv", "TMDB ID;Score;Watched At;type\n348;4;2024-03-06T21:30:00Z;film\n;9;;\n")
    survey = survey_file(flat)
    assert survey.needs == {"scale"} and survey.highest == 9 and survey.samples[0]["TMDB ID"] == "348"
    row = read(flat, Reading(scale=5))[0]
    assert (row.ids.tmdb_id, row.rating, row.at) == (348, 8, datetime(2024, 3, 6, 21, 30, tzinfo=UTC))
    assert "it names no title" in skipped(flat, Reading(scale=10))[0]
    odd = written(tmp_path / "b.csv", "Was,Jahr,Wann\nAlien,1979,2024-03-06\n")
    assert survey_file(odd).needs == {"columns"} and survey_file(odd).columns == ("Was", "Jahr", "Wann")
    chosen = Reading({"title": "Was", "year": "Jahr", "watched_at": "Wann"})
    assert survey_file(odd, chosen).needs == set()
    assert said(read(odd, chosen)[0]) == ("seen", None, "Alien", 1979, None, "2024-03-06")


def test_a_watchlist_of_trakt_is_read(tmp_path: Path):
    entry = {"rank": 1, "listed_at": "2024-03-06T20:00:00.000Z", "type": "movie",
             "movie": {"title": "Alien", "year": 1979, "ids": {"tmdb": 348}}}  # fmt: skip
    rows = read(packed(tmp_path / "trakt.zip", {"lists-watchlist.json": json.dumps([entry])}))
    assert [(row.source, row.sign, row.ids.tmdb_id) for row in rows] == [("trakt", "wanted", 348)]


@pytest.mark.parametrize(
    ("text", "scale", "expected"),
    [("8", 10, 8), ("4.5", 5, 9), ("4,5", 5, 9), ("★★★½", 10, 7), ("7/10", 5, 7), ("85%", 10, 9), ("0", 10, None),
     ("", 10, None), ("0.1", 10, 1)],
)  # fmt: skip
def test_ratings_are_read_in_any_usual_form(text: str, scale: float, expected: int | None):
    assert parse_rating(text, scale) == expected


@pytest.mark.parametrize("text", ["11", "-1", "nan", "inf", "1e400", "ten", "8/0", "8/nan"])
def test_ratings_that_cannot_be_are_refused(text: str):
    with pytest.raises(ValueError, match=r"rating|float|invalid"):
        parse_rating(text, 10)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_a_table_is_read_in_any_usual_encoding(tmp_path: Path, encoding: str):
    path = written(tmp_path / "a.csv", "title,year\r\nAmélie – ein Film,2001\r\n".encode(encoding))
    assert [said(row)[:4] for row in read(path)] == [("seen", None, "Amélie – ein Film", 2001)]


# Hostile files. Each is a function that writes one.


def _nested(levels: int) -> bytes:
    content = (LETTERBOXD + "2024-03-06,Alien,1979,x\n").encode()
    name = "watched.csv"
    for level in range(levels):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, content)
        content, name = buffer.getvalue(), f"{level}.zip"
    return content


def _bomb(path: Path, start: bytes, block: bytes, times: int, name: str = "watched.csv") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w") as file:
        file.write(start)
        for _ in range(times):
            file.write(block)
    return path


MILLION = 1_000_000
LONG_TITLE = '{"watched_at":"2024-03-06T20:00:00Z","movie":{"title":"' + "\U0001d538" * 40_000 + '","ids":{}}},'
HOSTILE: dict[str, Callable[[Path], Path]] = {
    "zip bomb of spaces": lambda p: _bomb(p / "a.zip", b"Title,Year\n", b" " * MILLION, 400),
    "zip bomb of rows": lambda p: _bomb(p / "a.zip", LETTERBOXD.encode(), b"2024-03-06,Alien,1979,x\n" * 40_000, 400),
    "zip bomb of long titles": lambda p: _bomb(p / "a.zip", b"[", LONG_TITLE.encode(), 1_500, "history-1.json"),
    "nested zip": lambda p: written(p / "a.zip", _nested(4)),
    "path names": lambda p: packed(
        p / "a.zip", {"../../../etc/passwd": "root", "/etc/watched.csv": "x", "..\\watched.csv": LETTERBOXD}
    ),
    "a million rows": lambda p: written(p / "a.csv", "title,year\n" + "Alien,1979\n" * MILLION),
    "formulas": lambda p: written(p / "a.csv", "title,year\n=cmd|' /C calc'!A0,1979\n@SUM(1),1979\n-1+1,1979\n"),
    "NUL bytes": lambda p: written(p / "a.csv", b"ti\0tle,year\n\0Al\0ien,19\x0079\n" + b"\0" * MILLION),
    "only NUL": lambda p: written(p / "a.csv", b"\0" * MILLION),
    "a field without end": lambda p: written(p / "a.csv", 'title,year\n"' + "x" * 3 * MILLION),
    "a line without end": lambda p: written(p / "a.csv", "title,year\n" + "x" * 3 * MILLION),
    "a quote without end": lambda p: written(p / "a.csv", 'title,year\n"' + "x\n" * MILLION),
    "many columns": lambda p: written(p / "a.csv", "title," + "," * 90_000 + "\n" + ("x" + "," * 90_000 + "\n") * 100),
    "headings without end": lambda p: written(p / "a.csv", "title," + "x," * MILLION),
    "deep JSON": lambda p: written(p / "a.json", "[" * MILLION),
    "deep objects": lambda p: written(p / "a.json", '{"data":' * MILLION),
    "deep values": lambda p: written(p / "a.json", '[{"movie":' + "[" * 90_000 + "]" * 90_000 + "}]"),
    "wrong types": lambda p: written(
        p / "a.json",
        json.dumps(
            [
                1,
                None,
                "x",
                [],
                {},
                {"movie": 3},
                {"movie": {"ids": [], "title": {}}},
                {"watched_at": {}, "movie": {"ids": {"tmdb": {}}}},
                {"title": [], "year": {}},
                {"title": "x", "year": 10**400, "rating": True, "date": -(10**30)},
            ]
        ),
    ),
    "huge numbers": lambda p: written(p / "a.json", '[{"tmdb_id": ' + "9" * 4_000 + ', "rating": 1e999}]'),
    "huge dates": lambda p: written(
        p / "a.csv",
        "title,watched_at\nAlien,999999-01-01\nAlien,9999999999999\nAlien,31/31/2024\nAlien,\U0001d7d8/1/24\n",
    ),
    "another picture": lambda p: written(p / "a.csv", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4_000),
    "half a zip": lambda p: written(p / "a.zip", _nested(1)[:60]),
    "odd UTF-16": lambda p: written(p / "a.csv", b"\xff\xfet\0i\0t\0l\0e\0,\0y\0\n\0\x00\xd8x\0,\x001\0\n\0\xd8"),
    "right to left": lambda p: written(p / "a.csv", "title,year\n\u202eneilA\x1b[31m,1979\n"),
    "surrogates": lambda p: written(p / "a.json", '[{"title": "\\ud800x", "year": 1979}]'),
}
PROGRAM = """
import resource, sys, time
from pathlib import Path
from zoneinfo import ZoneInfo
from aperture_dagster.catalogue.history_import.columns import Reading
from aperture_dagster.catalogue.history_import.files import read_history_file, survey_file
from aperture_dagster.catalogue.history_import.records import Limits
from aperture_dagster.model.errors import OperatorError
before, began, rows, batch = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic(), 0, []
limits = Limits(records=100_000, unpacked=64_000_000, seconds=30)
for what in (survey_file, read_history_file):
    try:
        if what is survey_file:
            survey_file(Path(sys.argv[1]), limits=limits)
            continue
        for row in read_history_file(Path(sys.argv[1]), ZoneInfo("UTC"), Reading(scale=10), limits):
            rows += 1
            # As whoever imports them does.
            batch = [*batch[-1_000:], row]
            str(row).encode()
    except OperatorError as error:
        assert "Traceback" not in str(error) and len(str(error)) < 500, error
print(rows <= 100_000, time.monotonic() - began < 60)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


QUICK = ("nested zip", "a line without end", "deep JSON", "half a zip")


@pytest.mark.parametrize("kind", [*QUICK, *at_night(*(kind for kind in HOSTILE if kind not in QUICK))])
def test_a_hostile_file_costs_itself(tmp_path: Path, kind: str):
    done = run_program(PROGRAM, str(HOSTILE[kind](tmp_path)))
    assert done.returncode == 0, done.stderr
    bounded, megabytes = done.stdout.splitlines()
    assert bounded == "True True"
    assert int(megabytes) < 100, f"{megabytes} MB"


def test_what_hostile_files_hold_is_plain_text(tmp_path: Path):
    formulas = read(HOSTILE["formulas"](tmp_path))
    assert [row.title for row in formulas] == ["=cmd|' /C calc'!A0", "@SUM(1)", "-1+1"]
    assert [said(row)[2:4] for row in read(HOSTILE["NUL bytes"](tmp_path))] == [("Alien", 1979)]
    for kind in ("nested zip", "only NUL", "half a zip", "another picture"):
        with pytest.raises(OperatorError):
            list(read_history_file(HOSTILE[kind](tmp_path), ZONE))
    with pytest.raises(OperatorError, match=r"more than 1,000 rows. Split it"):
        list(read_history_file(HOSTILE["a million rows"](tmp_path), ZONE, READING, Limits(records=1_000)))
    with pytest.raises(OperatorError, match=r"took more than 0 seconds"):
        list(read_history_file(HOSTILE["a million rows"](tmp_path), ZONE, READING, Limits(seconds=0)))
