"""Benchmarks can fail: unknown options are refused, a missed limit is an exit code, and no data is no success."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.queries import execute, read_value

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
PARTS = {"verdict", "peers", "protocol", "cells"}
# It has its own words, and tests of its own that import it from elsewhere.
WITH_OWN_WORDS = {"recommendation_quality"}
BENCHMARKS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in PARTS)
NEED_DATA = ("contest", "discovery", "imports", "recommendation_quality")


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModuleType]:
    """Return ``benchmark(name, *arguments)``, which imports a benchmark as if it had been started with these."""
    monkeypatch.syspath_prepend(str(FOLDER))

    def imported(name: str, *arguments: str) -> ModuleType:
        monkeypatch.setattr(sys, "argv", [str(FOLDER / f"{name}.py"), *arguments])
        return importlib.import_module(name)

    return imported


@pytest.mark.parametrize("name", BENCHMARKS)
def test_an_unknown_option_is_refused(benchmark, capsys: pytest.CaptureFixture[str], name: str):
    with pytest.raises(SystemExit) as ended:
        benchmark(name, "--nonsense", "1").main()
    assert ended.value.code == 2
    assert "--nonsense" in capsys.readouterr().err


@pytest.mark.parametrize("name", [name for name in BENCHMARKS if name not in WITH_OWN_WORDS])
def test_the_exit_code_is_that_of_the_verdict(name: str):
    tree = ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    closes = [func for func in calls if isinstance(func, ast.Attribute) and func.attr == "close"]
    assert any(ast.unparse(func.value).lower().endswith("verdict") for func in closes), "no verdict is closed"
    words = {"PASS", "FAIL", "MISSED"}
    said = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and node.value in words]
    assert not said, "the words of the verdict are only in verdict.py"
    last = tree.body[-1]
    assert ast.unparse(last).endswith("sys.exit(main())"), "the exit code is lost"


@pytest.mark.parametrize("name", NEED_DATA)
def test_without_its_data_a_benchmark_says_so_and_is_no_success(
    benchmark, capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
):
    try:
        code = benchmark(name, "--data", str(tmp_path)).main()
    except SystemExit as ended:
        code = ended.code
    assert code == 3
    assert str(tmp_path) in capsys.readouterr().out


FILMS, EPISODES, USERS = 200, 100, 3


def fill_pages(benchmark: ModuleType, database: Database) -> None:
    with database.transaction() as connection:
        assert benchmark.fill_household(connection, FILMS, EPISODES, USERS)
        for table in ("discovery_candidates", "recommendations", "shows_you_watch", "whole_lists"):
            assert read_value(connection, f"SELECT count(*) FROM {table}"), table


def fill_backup(benchmark: ModuleType, database: Database) -> None:
    with database.transaction() as connection:
        benchmark.fill(connection, FILMS, EPISODES, USERS)
        assert read_value(connection, "SELECT count(*) FROM plays")


def fill_work_list(benchmark: ModuleType, database: Database) -> None:
    with database.transaction() as connection:
        benchmark.fill(connection, FILMS, EPISODES, USERS)
        for statement in (*benchmark.LIBRARY, *(each for state in benchmark.STATES.values() for each in state)):
            connection.exec_driver_sql(statement.replace("%", "%%"))


def fill_lists(benchmark: ModuleType, database: Database) -> None:
    with database.transaction() as connection:
        importlib.import_module("backup").fill(connection, FILMS, EPISODES, USERS)
        execute(connection, "DELETE FROM recommendations")
        execute(connection, benchmark.LISTS, titles=5)
        assert read_value(connection, "SELECT count(*) FROM recommendations") == USERS * (5 + EPISODES // 50)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("backup", fill_backup),
        ("front_door", fill_pages),
        ("publishing", fill_lists),
        ("work_list", fill_work_list),
    ],
)
def test_what_a_benchmark_writes_fits_the_schema(
    benchmark, database: Database, name: str, write: Callable[[ModuleType, Database], None]
):
    write(benchmark(name), database)


@pytest.mark.nightly(
    reason="It runs a benchmark to its end.", instead="test_benchmarks.py::test_the_exit_code_is_that_of_the_verdict"
)
def test_a_missed_limit_is_an_exit_code_of_one(
    benchmark, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("BENCHMARKS_MUST_MISS", "1")
    assert benchmark("backup", "--movies", "100", "--episodes", "50", "--users", "2").main() == 1
    printed = capsys.readouterr().out
    assert "PASS" not in printed and "MISSED" in printed


def test_a_verdict_needs_figures_and_forgets_none(benchmark, capsys: pytest.CaptureFixture[str]):
    verdict = benchmark("verdict").Verdict
    assert verdict().close() == 1, "nothing was measured"
    good = verdict()
    assert good.most("time", 2.0, 2.0)
    assert good.least("recall", 0.5, 0.5)
    assert good.holds("all is well", True)
    assert good.close() == 0
    misses: list[Callable[..., bool]] = [
        lambda one: one.most("time", 2.01, 2.0),
        lambda one: one.least("recall", 0.4, 0.5),
        lambda one: one.holds("all is well", False),
        lambda one: one.most("time", float("nan"), 1.0),
    ]
    for miss in misses:
        bad = verdict()
        miss(bad)
        bad.most("requests", 0, 0)
        assert bad.close() == 1
    assert "MISSED  recall: 0.4, at least 0.5" in capsys.readouterr().out


def test_differences_between_two_homes_name_the_rows_of_both(benchmark):
    differences = benchmark("days.outcome").differences
    twin = {"table plays": [("ada", "Film 1", "1"), ("ben", "Film 2", "1")], "lists": {"Top Picks": ["Film 1"]}}
    assert differences(twin, twin) == []
    disturbed = {"table plays": [("ada", "Film 1", "2")], "lists": {"Top Picks": ["Film 1"], "Kids": ["Film 3"]}}
    assert differences(disturbed, twin) == [
        "lists, Kids: ['Film 3'] for None",
        "table plays: 1 for 2, 1 only disturbed, 2 only twin",
        "    only disturbed: ('ada', 'Film 1', '2')",
        "    only twin: ('ada', 'Film 1', '1')",
        "    only twin: ('ben', 'Film 2', '1')",
    ]
    assert differences({"lists": {"Top Picks": ["b", "a"]}}, {"lists": {"Top Picks": ["a", "b"]}}) != []
    assert differences({"lists": {"Top Picks": ["a", "a"]}}, {"lists": {"Top Picks": ["a"]}}) != []


def test_who_asks_first_for_a_title_makes_no_difference(benchmark):
    compare = benchmark("days.outcome").compare

    def home(asked: tuple[str, str], *rows: tuple[str, str, str]) -> dict[str, list[tuple[str, ...]]]:
        listed = [(user, "movie", "1", title, "1", score) for user, title, score in rows]
        return {"table seerr_requests": [asked], "table discovery_candidates": listed}

    ada, ben, eve = ("ada", "B", "1"), (("ben", "A", "2"), ("ben", "B", "2")), ("eve", "A", "3")
    disturbed = home(("ben", "A"), ("ada", "A", "4"), ("ada", "B", "5"), ("ben", "B", "6"), eve)
    assert compare(disturbed, home(("ada", "A"), ada, *ben, eve)) == []
    for others in ((("ada", "C", "1"), *ben, eve), (ada, *ben, ("eve", "A", "4"))):
        assert compare(disturbed, home(("ada", "A"), *others)) != []


@pytest.mark.parametrize(
    ("mine", "its", "is_equal"),
    [("0.12345", "0.12395", True), ("0.12345", "0.12545", False), ("7", "8", False), ("1", "0.9999", True)],
)
def test_only_numbers_with_decimals_may_differ_a_little(benchmark, mine: str, its: str, is_equal: bool):
    differences = benchmark("days.outcome").differences
    rows = [("ada", "Film 1", mine)], [("ada", "Film 1", its)]
    assert (differences({"table": rows[0]}, {"table": rows[1]}) == []) is is_equal


def test_growth_must_level_off_or_have_a_reason_and_a_steady_pace(benchmark):
    """Of 90 days: means of the first week, and of the week before each thirtieth day."""
    grown = benchmark("days.growth").grown

    def days(name: str, *levels: int) -> list[dict[str, tuple[int, int]]]:
        return [{name: (level, 100)} for level in levels for _ in range(30)]

    assert grown(days("Dagster's event_logs", 1000, 5000, 5100))[1] == []
    assert grown(days("Dagster's event_logs", 1000, 2000, 3000))[1] == [
        "Dagster's event_logs: 2,000 to 3,000, 0 to 0 kB"
    ]
    rising = [{"product plays": (10 * day, 100)} for day in range(90)]
    lines, wrong = grown(rising)
    assert wrong == [] and lines[1].endswith("plays are never deleted")
    faster = {"product plays": 20, "product titles": 90}
    days_of_both = [
        {name: (10 * day + more * max(day - 60, 0), 100) for name, more in faster.items()} for day in range(90)
    ]
    assert [one.partition(":")[0] for one in grown(days_of_both)[1]] == ["product plays"], "titles are the household's"
    wider = [{"product facts": (20, 20_000 * day)} for day in range(90)]
    assert grown(wider)[1] == ["product facts: 20 to 20, 1,120 to 1,720 kB"]
