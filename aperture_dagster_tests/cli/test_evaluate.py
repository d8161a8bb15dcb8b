"""``aperture evaluate``: the figures of a folder of histories, and what is wrong with a folder that has none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from aperture_dagster.cli.main import main
from aperture_dagster.ranking.config import RankingConfig
from aperture_dagster.ranking.evaluation import compare_with_votes, intervals, rank_household
from aperture_dagster.sources.evaluation import world_of_folder

HEAD = "userId,movieId,rating,timestamp\n"
TOPICS = ("space", "love", "crime")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sixty films on three topics; twelve people who like those of one, which hardly anybody voted for."""
    films = [
        {"movieId": number, "title": f"About {TOPICS[number % 3]} {number}", "genres": [TOPICS[number % 3]],
         "keywords": [f"about {TOPICS[number % 3]}"], "year": 2000, "vote_count": 1_000 if number % 3 == 0 else 10,
         "vote_average": 6}
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


def evaluate(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments)])


def summary_of(tmp_path: Path, *arguments: object) -> dict:
    done = evaluate(*arguments, "--summary", tmp_path / "figures.json")
    assert done.exit_code == 0, done.output
    return json.loads((tmp_path / "figures.json").read_text())


def test_the_figures_are_those_of_the_evaluation(folder: Path, tmp_path: Path):
    said = summary_of(tmp_path, "--world", folder)
    world = world_of_folder(folder).world
    lists = rank_household(world, sorted(world.last_known), RankingConfig(limit=20), ratings=True)
    found = compare_with_votes(world, lists)
    for name, votes, ours in found.rows():
        assert said["most_voted"][name] == pytest.approx(votes, abs=1e-5)
        assert said["ours"][name] == pytest.approx(ours, abs=1e-5)
    assert said["ratio"] == pytest.approx(found.ratio, abs=1e-5) and said["ratio"] > 1.2
    assert said["ratio_95"] == pytest.approx(intervals(found.ours, found.votes)[1], abs=1e-5)
    assert (said["people"], said["users"], said["films"], said["household"]) == (12, len(world.users), 60, 12)


def test_the_table_fits_a_narrow_terminal_and_few_users_are_named_as_such(folder: Path):
    done = evaluate("--world", folder)
    assert done.exit_code == 0
    lines = done.output.splitlines()
    start = next(number for number, line in enumerate(lines) if "most voted" in line and "ours" in line)
    assert [line.split("  ")[0] for line in lines[start + 1 : start + 8]] == [
        "NDCG@10", "hit rate@10", "recall@20", "coverage", "diversity", "overlap", "mean votes"
    ]  # fmt: skip
    assert max(map(len, lines[start : start + 8])) <= 60
    assert "95 % interval" in done.output and "films to find are too few to trust the interval" in done.output


def test_households_and_plays_only_change_what_is_known(folder: Path, tmp_path: Path):
    one, small, plays = (
        summary_of(tmp_path, "--world", folder, *options) for options in ([], ["--households", 3], ["--plays-only"])
    )
    assert (small["household"], plays["plays_only"]) == (3, True)
    assert one["most_voted"] == small["most_voted"] == plays["most_voted"], "the baseline knows nothing of this"
    assert one["users"] == small["users"] == plays["users"]
    assert one["ours"] != small["ours"] and one["ours"] != plays["ours"]


def test_lines_that_cannot_be_used_are_counted(folder: Path, tmp_path: Path):
    with (folder / "movies.jsonl").open("a") as films, (folder / "ratings.csv").open("a") as ratings:
        films.write("nonsense\n")
        ratings.write("1,999,4.0,1\nx,y,z,0\n")
    before = summary_of(tmp_path, "--world", folder)
    assert before["skipped"] == {"films": 1, "ratings": 2}
    assert "1 films, 2 ratings" in evaluate("--world", folder).output


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda folder: (folder / "ratings.csv").unlink(), "has no ratings.csv"),
        (lambda folder: (folder / "movies.jsonl").unlink(), "has no movies.jsonl"),
        (lambda folder: (folder / "movies.jsonl").write_text(""), "has no film"),
        (lambda folder: (folder / "ratings.csv").write_text(HEAD), "nothing can be"),
        (
            lambda folder: (folder / "ratings.csv").write_text(HEAD + "1,1,5,1\n"),
            "has nobody",
        ),
    ],
    ids=["no ratings", "no films", "empty films", "empty ratings", "nobody qualifies"],
)
def test_a_folder_without_anything_to_measure_is_one_sentence(folder: Path, tmp_path: Path, broken, message: str):
    broken(folder)
    done = evaluate("--world", folder, "--summary", tmp_path / "figures.json")
    assert done.exit_code == 1 and message in done.output
    assert "Traceback" not in done.output and not (tmp_path / "figures.json").exists()


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path):
    done = evaluate("--world", tmp_path / "nowhere")
    assert done.exit_code == 1 and "nowhere does not exist" in done.output
    assert evaluate("--world", tmp_path, "--summary", "/nowhere/figures.json").exit_code == 2
