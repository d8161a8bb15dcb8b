"""``aperture crowd``: a table is made, used and removed again, from a folder or from what GroupLens publishes."""

from __future__ import annotations

import hashlib
import io
import random
import zipfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from aperture_dagster.cli import crowd as crowd_commands
from aperture_dagster.cli.doctor.services import examine_crowd
from aperture_dagster.cli.main import main
from aperture_dagster.files import locks
from aperture_dagster.maintenance.status import describe_household
from aperture_dagster.model import Clock
from aperture_dagster.settings import Settings
from aperture_dagster.taste import crowd_sources
from aperture_dagster.taste.crowd import count_active_people, crowd_advice, table_in_use
from aperture_dagster.taste.crowd_sources import DATA_SETS
from aperture_dagster.taste.crowd_table import read_table
from aperture_dagster_tests.conftest import HISTORIES
from aperture_dagster_tests.marks import at_night
from aperture_dagster_tests.services import Answer, Asked, Scripted
from aperture_dagster_tests.shelf import Shelf, film, played


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("APERTURE_HOME", "DAGSTER_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("APERTURE_MEDIA_SERVER_URL", "http://films.example")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def crowd(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["crowd", *map(str, arguments)])


def test_a_table_is_made_used_and_removed_and_a_file_that_is_none_leaves_it_alone(home: Path, tmp_path: Path):
    made = crowd("build", HISTORIES, "--licence", "research only")
    assert made.exit_code == 0 and "from 138 of 138 people" in made.output
    assert "aperture crowd use crowd.npz" in made.output
    assert read_table(tmp_path / "crowd.npz").header.licence == "research only"
    used = crowd("use", "crowd.npz")
    assert used.exit_code == 0 and "138 people of movielens" in used.output
    assert "Terms of the data: research" in used.output
    (kept,) = (home / "crowd").iterdir()
    assert read_table(kept).header == read_table(tmp_path / "crowd.npz").header
    before = kept.read_bytes()
    Path("bad.npz").write_bytes(before[:5_000])
    refused = crowd("use", "bad.npz")
    assert refused.exit_code == 1 and "bad.npz is no usable table" in refused.output
    assert "Traceback" not in refused.output and kept.read_bytes() == before
    removed = crowd("remove")
    assert removed.exit_code == 0 and not kept.exists()
    again = crowd("remove")
    assert again.exit_code == 1 and "There is no table" in again.output


def test_a_folder_that_is_no_crowd_writes_nothing(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    refused = crowd("build", "empty")
    assert refused.exit_code == 1 and "empty has no movies.jsonl" in refused.output
    assert not (tmp_path / "crowd.npz").exists()
    missing = crowd("build", "nowhere")
    assert missing.exit_code == 2 and "nowhere" in missing.output


SMALL = "ml-latest-small"
ZIP = {"content-type": "application/zip", "etag": '"1"'}


def archive(people: int = 12, films: int = 10, **more: bytes) -> bytes:
    """An archive as GroupLens publishes them, of people who like some of the films; TMDb knows film n as n."""
    chance = random.Random(1)
    rows = [
        f"{person},{number},{chance.choice([1.0, 4.0, 5.0])},{1_000_000 + person}\n"
        for person in range(1, people + 1)
        for number in range(1, films + 1)
        if chance.random() < 0.7
    ]
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr(f"{SMALL}/ratings.csv", "userId,movieId,rating,timestamp\n" + "".join(rows))
        ids = "".join(f"{number},{9_000 + number},{number}\n" for number in range(1, films + 1))
        made.writestr(f"{SMALL}/links.csv", "movieId,imdbId,tmdbId\n" + ids)
        for name, text in more.items():
            made.writestr(name, text)
    return content.getvalue()


def publish(
    scripted: Scripted, content: bytes, *, md5: str | None = None, breaks_after: int | None = None
) -> Callable[[Asked], Answer]:
    """Serve an archive with its checksum; each answer may break off after so many bytes."""
    checksum = md5 or f"MD5 ({SMALL}.zip) = {hashlib.md5(content).hexdigest()}\n"

    def answer(asked: Asked) -> Answer:
        if asked.target.endswith(".md5"):
            return Answer(checksum, headers={"content-type": "text/plain"})
        start = int(asked.headers.get("range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        rest = content[start:]
        sent = rest[:breaks_after]
        about = ZIP | {"content-range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        return Answer(sent, 206 if start else 200, about, missing=len(rest) - len(sent))

    scripted.say(answer)
    return answer


@pytest.fixture
def groups(scripted: Scripted, monkeypatch: pytest.MonkeyPatch, database_url: str) -> Scripted:
    """A server that stands for GroupLens, asked twice at most."""
    monkeypatch.setenv("APERTURE_CROWD_URL", f"{scripted.url}/datasets/movielens")
    monkeypatch.setenv("APERTURE_DATABASE_URL", database_url)
    monkeypatch.setenv("APERTURE_HTTP_ATTEMPTS", "2")
    monkeypatch.setenv("APERTURE_HTTP_RETRY_WAIT_SECONDS", "0.01")
    return scripted


def words(result: Result) -> str:
    return " ".join(result.output.split())


def test_public_histories_are_downloaded_after_the_terms_are_accepted_and_put_into_use(
    home: Path, groups: Scripted, shelf: Shelf
):
    publish(groups, archive())
    refused = CliRunner().invoke(main, ["crowd", "fetch", SMALL], input="n\n")
    assert refused.exit_code == 1 and "no commercial" in refused.output and "README.html" in refused.output
    assert not groups.asked and not home.exists()
    shelf.films(film(3), film(4), film(77))
    shelf.users("anna", "ben", "cleo")
    shelf.history("anna", played("film-3"), played("film-77"))
    shelf.history("ben", played("film-77"))
    done = CliRunner().invoke(main, ["crowd", "fetch", SMALL], input="y\n")
    assert done.exit_code == 0, done.output
    assert [asked.target for asked in groups.asked] == [
        f"/datasets/movielens/{SMALL}.zip.md5", f"/datasets/movielens/{SMALL}.zip"
    ]  # fmt: skip
    said = words(done)
    assert "from 12 of 12 people" in said and "It knows 2 of the library's 3 films." in said
    assert "changes the lists of films of 1 person: anna (1 of 2 watched films)." in said
    assert "Nothing changes for ben and cleo" in said
    header = read_table(home / "crowd" / "table.npz").header
    assert header.source == SMALL and "GroupLens" in header.licence
    assert {path.name for path in (home / "crowd").iterdir()} == {"table.npz", "fetch.lock"}
    assert (home / "crowd").stat().st_mode & 0o77 == 0


def test_an_interrupted_fetch_goes_on_and_one_at_a_time(home: Path, groups: Scripted):
    content = archive()
    publish(groups, content, breaks_after=200)
    broken = crowd("fetch", SMALL, "--yes")
    assert broken.exit_code == 1 and "Traceback" not in broken.output and not (home / "crowd" / "table.npz").exists()
    groups.asked.clear()
    publish(groups, content)
    lock = locks.acquire(home / "crowd" / "fetch.lock")
    assert lock is not None
    busy = crowd("fetch", SMALL, "--yes")
    assert busy.exit_code == 1 and "under way" in busy.output and not groups.asked
    locks.release(lock)
    done = crowd("fetch", SMALL, "--yes")
    assert done.exit_code == 0 and groups.asked[-1].headers["range"] == "bytes=400-"
    assert read_table(home / "crowd" / "table.npz").header.people == 12


def test_what_was_left_half_way_is_removed_with_the_table(home: Path, groups: Scripted):
    publish(groups, archive(), breaks_after=200)
    assert crowd("fetch", SMALL, "--yes").exit_code == 1
    assert (home / "crowd" / f"{SMALL}.zip.part").exists()
    crowd("remove")
    assert {path.name for path in (home / "crowd").iterdir()} <= {"fetch.lock"}


def zeros() -> bytes:
    return archive(bomb=bytes(101_000_000))


BAD: dict[str, tuple[Callable[[], bytes], str | None, str]] = {
    "of another checksum": (archive, "0" * 32, "checksum differs"),
    "without a checksum": (archive, "<html>Sign in</html>", "is not a checksum"),
    "no archive": (lambda: b"PK and nothing else", None, "is no zip archive"),
    "a bomb": (zeros, None, "unpacks to 101 MB"),
    "of nobody": (lambda: archive(people=0), None, "has no rating of a film"),
    "of one person": (lambda: archive(people=1), None, "two people liked"),
}


@pytest.mark.parametrize("what", ["of another checksum", *at_night(*list(BAD)[1:])])
def test_a_bad_archive_costs_a_sentence_and_leaves_the_table_that_was_in_use(home: Path, groups: Scripted, what: str):
    made, md5, message = BAD[what]
    crowd("build", HISTORIES)
    crowd("use", "crowd.npz")
    before = (home / "crowd" / "table.npz").read_bytes()
    publish(groups, made(), md5=md5)
    refused = crowd("fetch", SMALL, "--yes")
    assert refused.exit_code == 1 and message in words(refused) and "Traceback" not in refused.output
    assert (home / "crowd" / "table.npz").read_bytes() == before
    assert {path.name for path in (home / "crowd").iterdir()} <= {"table.npz", "fetch.lock"}


def test_names_in_an_archive_lead_nowhere(home: Path, groups: Scripted, tmp_path: Path):
    before = {path for path in tmp_path.rglob("*") if home not in path.parents}
    publish(groups, archive(**{"../../escaped.csv": b"x", "/tmp/escaped-too.csv": b"x"}))
    assert crowd("fetch", SMALL, "--yes").exit_code == 0
    assert {path for path in tmp_path.rglob("*") if home not in path.parents} - {home} == before
    assert {path.name for path in (home / "crowd").iterdir()} == {"table.npz", "fetch.lock"}


def test_the_data_set_that_never_changes_is_known_beforehand(home: Path, groups: Scripted):
    assert tuple(DATA_SETS) == crowd_commands.NAMES
    publish(groups, archive())
    refused = crowd("fetch", "ml-32m", "--yes")
    assert refused.exit_code == 1 and "instead of 238,950,008" in words(refused)
    assert [asked.target.rpartition("/")[2] for asked in groups.asked] == ["ml-32m.zip"], "its checksum is not asked"


def test_without_an_address_or_room_nothing_is_requested(groups: Scripted, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(crowd_sources, "SPARE_BYTES", 10**18)
    full = crowd("fetch", SMALL, "--yes")
    assert full.exit_code == 1 and "make room" in full.output
    monkeypatch.setattr(crowd_sources, "SPARE_BYTES", 0)
    monkeypatch.setenv("APERTURE_CROWD_URL", "off")
    off = crowd("fetch", SMALL, "--yes")
    assert off.exit_code == 1 and "APERTURE_CROWD_URL is off" in off.output
    assert not groups.asked


def test_a_small_household_that_watches_is_advised_until_it_has_a_crowd(
    home: Path, shelf: Shelf, settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    now = Clock().now()
    names = [f"user {number}" for number in range(25)]
    shelf.users(*names)
    shelf.films(film(1))
    for name in names[:21]:
        shelf.history(
            name, played("film-1", last_played_at=now - timedelta(days=200 if name == names[0] else 1)), now=now
        )
    with shelf.open() as connection:
        assert count_active_people(connection, settings, now=now) == 20
        fewer = settings.model_copy(update={"exclude_users": ("user 7",)})
        assert count_active_people(connection, fewer, now=now) == 19
        _, waiting = describe_household(connection, fewer, since=now, now=now)
        _, without = describe_household(connection, settings, since=now, now=now)
    assert [line for line in waiting if line not in without] == [crowd_advice(settings, 19)]
    (finding,) = examine_crowd(fewer, shelf.database, Clock())
    assert (finding.what, finding.state, finding.message) == ("crowd", "off", crowd_advice(settings, 19))
    assert crowd_advice(settings, 20) is None and crowd_advice(settings, 0) is None
    assert "19 people" in str(crowd_advice(settings, 19)) and "aperture crowd fetch" in str(crowd_advice(settings, 1))
    assert crowd_advice(settings.model_copy(update={"crowd_url": None}), 19) is None
    place = table_in_use(settings)
    place.parent.mkdir(parents=True)
    place.write_bytes(b"table")
    assert crowd_advice(settings, 19) is None
