"""``aperture crowd``: a table is made, used and removed again, and lists are judged by the histories of a folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from aperture_dagster.cli.main import main
from aperture_dagster.taste.crowd_table import read_table
from aperture_dagster.taste.movielens import world_of_folder
from aperture_dagster.taste.ranking.config import RankingConfig
from aperture_dagster.taste.ranking.evaluation import compare_with_votes, rank_household
from aperture_dagster_tests.conftest import HISTORIES

HEAD = "userId,movieId,rating,timestamp\n"
TOPICS = ("space", "love", "crime")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("APERTURE_HOME", "DAGSTER_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("APERTURE_MEDIA_SERVER_URL", "http://films.example")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def crowd(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["crowd", *map(str, arguments)])


def test_a_table_is_made_used_and_removed(home: Path, tmp_path: Path):
    made = crowd("build", HISTORIES, "--licence", "research only")
    assert made.exit_code == 0 and "from 138 of 138 people" in made.output
    assert "aperture crowd use crowd.npz" in made.output
    assert read_table(tmp_path / "crowd.npz").header.licence == "research only"
    used = crowd("use", "crowd.npz")
    assert used.exit_code == 0 and "138 people of movielens" in used.output
    assert "Terms of the data: research" in used.output
    (kept,) = (home / "crowd").iterdir()
    assert read_table(kept).header == read_table(tmp_path / "crowd.npz").header
    removed = crowd("remove")
    assert removed.exit_code == 0 and not kept.exists()
    again = crowd("remove")
    assert again.exit_code == 1 and "There is no table" in again.output


def test_a_file_that_is_no_table_leaves_the_one_in_use_alone(home: Path):
    crowd("build", HISTORIES, "--output", "good.npz")
    crowd("use", "good.npz")
    before = (home / "crowd" / "table.npz").read_bytes()
    Path("bad.npz").write_bytes(Path("good.npz").read_bytes()[:5_000])
    refused = crowd("use", "bad.npz")
    assert refused.exit_code == 1 and "bad.npz is no usable table" in refused.output
    assert "Traceback" not in refused.output
    assert (home / "crowd" / "table.npz").read_bytes() == before


def test_a_folder_that_is_no_crowd_writes_nothing(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    refused = crowd("build", "empty")
    assert refused.exit_code == 1 and "empty has no movies.jsonl" in refused.output
    assert not (tmp_path / "crowd.npz").exists()
    missing = crowd("build", "nowhere")
    assert missing.exit_code == 2 and "nowhere" in missing.output


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sixty films on three topics; twelve people who like those of one, which hardly anybody voted for."""
    films = [
        {"movieId": number, "title": f"About {TOPICS[number % 3]} {number}", "genres": [TOPICS[number % 3]],
         "year": 2000, "vote_count": 1_000 if number % 3 == 0 else 10, "vote_average": 6}
        for number in range(60)
    ]  # fmt: skip
    rows = [
        f"{person},{number},{4.5 if number % 3 == person % 3 else 2.0},{1_500_000_000 + 100 * step}\n"
        for person in range(1, 13)
        for step, number in enumerate((number * 7 + person) % 60 for number in range(25))
    ]
    place = tmp_path / "world"
    place.mkdir()
    (place / "movies.jsonl").write_text("".join(json.dumps(film) + "\n" for film in films))
    (place / "ratings.csv").write_text(HEAD + "".join(rows))
    return place


def figures(*arguments: object) -> dict[str, list[str]]:
    """Run the evaluation, and return the rows of its table."""
    done = crowd("evaluate", *arguments)
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    start = next(number for number, line in enumerate(lines) if "most voted" in line and "ours" in line)
    assert max(map(len, lines[start : start + 6])) <= 60, "it fits a narrow terminal"
    assert "95 % interval" in done.output and "films to find are too few to trust the interval" in done.output
    return {line[:12].strip(): line[12:].split() for line in lines[start + 1 : start + 6]}


def test_the_figures_are_those_of_the_evaluation(folder: Path):
    shown = figures(folder)
    world = world_of_folder(folder)
    found = compare_with_votes(world, rank_household(world, sorted(world.last_known), RankingConfig(limit=20)))
    assert list(shown) == ["NDCG@10", "hit rate@10", "recall@20", "coverage", "mean votes"]
    for name, votes, ours in found.rows()[:-1]:
        assert shown[name][:2] == [f"{votes:.3f}", f"{ours:.3f}"], name
    assert found.ratio > 1.2


def test_households_and_plays_only_change_what_is_known(folder: Path):
    one, small, plays = (figures(folder, *options) for options in ([], ["--households", 3], ["--plays-only"]))
    for name, (votes, ours, *_) in one.items():
        assert votes == small[name][0] == plays[name][0], f"the baseline knows nothing of this: {name} {ours}"
    assert one != small and one != plays


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda folder: (folder / "ratings.csv").unlink(), "has no ratings.csv"),
        (lambda folder: (folder / "movies.jsonl").unlink(), "has no movies.jsonl"),
        (lambda folder: (folder / "movies.jsonl").write_text(""), "cannot be read"),
        (lambda folder: (folder / "ratings.csv").write_text(HEAD), "no rating of a film"),
        (lambda folder: (folder / "ratings.csv").write_text(HEAD + "1,1,5,1\n"), "has nobody"),
        (lambda folder: (folder / "ratings.csv").write_text("userId,movieId,rating\n1,1,5\n1,4,5\n"), "has nobody"),
    ],
    ids=["no ratings", "no films", "empty films", "empty ratings", "nobody qualifies", "no dates"],
)
def test_a_folder_without_anything_to_measure_is_one_sentence(folder: Path, broken: Callable[[Path], object], message):
    broken(folder)
    done = crowd("evaluate", folder)
    assert done.exit_code == 1 and message in " ".join(done.output.split())
    assert "Traceback" not in done.output
