"""Faults of OMDb, MDBList and the picture host: outcomes of the titles, and messages for the operator."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from pydantic import SecretStr

from aperture_dagster.simulator.faults import FaultRule
from aperture_dagster_tests.e2e.library import ASSETS, JOBS, imdb, names, titles
from aperture_dagster_tests.household import Household, failures, metadata_of

pytestmark = pytest.mark.e2e

ANOTHER = pytest.mark.nightly(
    reason="Another household for the same outcome.", instead="the same test with other parameters"
)

LABELS = {"tmdb": "TMDb", "omdb": "OMDb", "mdblist": "MDBList"}


class Row(NamedTuple):
    """A fault, the outcome of the affected titles, and words in the recorded reason."""

    fault: dict[str, Any]
    outcome: str
    words: str = ""


OMDB = (
    Row({"status": 429}, "error", "answered 429"),
    Row({"status": 429, "retry_after": 7}, "error", "answered 429"),
    Row({"status": 500}, "error", "answered 500"),
    Row({"status": 404}, "error", "APERTURE_OMDB_URL"),
    Row({"status": 200}, "error", "Something went wrong"),
    Row({"kind": "cut_off"}, "error", "APERTURE_OMDB_URL"),
    Row({"kind": "html"}, "error", "not JSON"),
    Row({"kind": "malformed_json"}, "error", "not JSON"),
    Row({"kind": "empty_object"}, "error", "Response"),
    Row({"kind": "missing_field", "field": "imdbID"}, "error", "imdbID"),
    Row({"kind": "missing_field", "field": "Response"}, "error", "Response"),
    Row({"kind": "missing_field", "field": "imdbRating"}, "ok"),
    Row({"kind": "wrong_type", "field": "imdbRating"}, "ok"),
    Row({"kind": "wrong_type", "field": "Ratings"}, "ok"),
)
# Each affects a batch of two films; the outcome of the first, then "/" and that of the second if it differs.
MDBLIST = (
    Row({"status": 429}, "error", "answered 429"),
    Row({"status": 429, "retry_after": 7}, "error", "answered 429"),
    Row({"status": 500}, "error", "answered 500"),
    Row({"kind": "cut_off"}, "error", "APERTURE_MDBLIST_URL"),
    Row({"kind": "html"}, "error", "not JSON"),
    Row({"kind": "malformed_json"}, "error", "not JSON"),
    Row({"kind": "empty_object"}, "error", "expected list, got dict"),
    Row({"kind": "missing_field", "field": "ids", "entry_contains": "FIRST"}, "error/ok", "without ids"),
    Row({"kind": "wrong_type", "field": "ratings", "entry_contains": "FIRST"}, "error/ok", "ratings: expected list"),
    Row({"kind": "missing_field", "field": "score"}, "ok"),
    Row({"kind": "wrong_type", "field": "score"}, "ok"),
    Row({"kind": "empty_list"}, "not_found", "unknown to MDBList"),
)


def test_a_fault_of_omdb_affects_only_its_title(library):
    """Every second title is affected, so that the service counts as up; the others are stored."""
    hit = {2 * place + 2: row for place, row in enumerate(OMDB)}
    with library(titles(1, 2 * len(OMDB) + 1), http_attempts=1) as here:
        for number, row in hit.items():
            here.state.add_fault(FaultRule("omdb", f"i={imdb(number)}", **row.fault))
        metadata = here.ask("omdb")
        expected = {name: "ok" for name in here.outcomes("omdb")}
        expected |= {f"Film {number}": row.outcome for number, row in hit.items()}
        assert here.outcomes("omdb") == expected
        noted = here.why("omdb")
        for number, row in hit.items():
            assert row.words in noted.get(f"Film {number}", ""), row
        failed = [number for number, row in hit.items() if row.outcome == "error"]
        assert_reported(metadata, "OMDb", failed)
        assert here.home.value("SELECT count(*) FROM omdb_ratings") == len(expected) - len(failed)
        here.state.clear_faults()
        here.state.reset_counters()
        here.move(minutes=61)
        here.ask("omdb")
        assert here.state.asked("omdb") == {imdb(number): 1 for number in failed}
        assert set(here.outcomes("omdb").values()) == {"ok"}


def test_a_fault_of_mdblist_affects_only_its_batch(library):
    """Every second batch is affected, so that the service counts as up; the others are stored."""
    unharmed = FaultRule("mdblist", kind="slow", delay_seconds=0.001, times=1)
    with library(titles(1, 4 * len(MDBLIST)), batch=2, http_attempts=1) as here:
        expected = {name: "ok" for name in names(range(1, 4 * len(MDBLIST) + 1))}
        words = {}
        for place, row in enumerate(MDBLIST):
            first, second = 4 * place + 1, 4 * place + 2
            fault = {name: imdb(first) if value == "FIRST" else value for name, value in row.fault.items()}
            here.state.add_fault(FaultRule("mdblist", times=1, **fault))
            here.state.add_fault(unharmed)
            outcome, _, other = row.outcome.partition("/")
            expected |= {f"Film {first}": outcome, f"Film {second}": other or outcome}
            words[f"Film {first}"] = row.words
        metadata = here.ask("mdblist")
        assert here.outcomes("mdblist") == expected
        noted = here.why("mdblist")
        for name, said in words.items():
            assert said in noted.get(name, ""), name
        failed = [int(name.split()[1]) for name, outcome in expected.items() if outcome == "error"]
        assert_reported(metadata, "MDBList", failed)
        here.state.reset_counters()
        here.move(minutes=61)
        here.ask("mdblist")
        assert here.state.asked("mdblist") == {imdb(number): 1 for number in failed}
        assert here.count("mdblist")["error"] == 0


# By the answer at the address of the picture.


def assert_reported(metadata: dict[str, Any], label: str, failed: list[int]) -> None:
    """Check that the metadata of the asset has the failed items with reasons, and no key."""
    assert metadata["errors"] == len(failed)
    shown = [record.data for record in metadata["not_fetched"].records]
    assert {row["name"] for row in shown if row["outcome"] == "error"} == set(names(failed))
    assert all(label in row["detail"] for row in shown)
    assert f"demo-{label.lower()}-key" not in str(metadata)


def test_a_service_that_is_down_is_soon_skipped_and_the_others_are_used(library):
    """Answers of the others are stored and merged; only titles that were tried are marked as failed."""
    with library(titles(1, 60), http_attempts=1) as here:
        here.state.add_fault(FaultRule("omdb", status=503, after=20))
        result = here.home.run("enrich_metadata")
        errors = failures(result)
        assert list(errors) == ["omdb_ratings"]
        assert errors["omdb_ratings"].startswith("OMDb cannot be reached: ")
        assert "20 titles were fetched before" in errors["omdb_ratings"]
        assert errors["omdb_ratings"].endswith("What was there is kept; the next run goes on from here.")
        assert metadata_of(result, "tmdb_metadata")["fetched"] == 60
        standing = here.count("omdb")
        # Eight in a row; two more may be in flight, and two may have failed before the last good answer.
        assert standing["ok"] == 20 and 8 <= standing["error"] <= 8 + 2 + 2
        assert standing["waiting"] == 60 - 20 - standing["error"]
        merged = metadata_of(here.home.must("enrich_mdblist"), "enriched_metadata")
        assert merged["dagster/row_count"] == 60
        came_from = here.home.rows("SELECT DISTINCT key, value FROM enriched_metadata, jsonb_each_text(sources)")
        pairs = {(row["key"], row["value"]) for row in came_from}
        assert {("vote_average", "tmdb"), ("imdb_rating", "omdb"), ("trakt", "mdblist")} <= pairs
        here.state.clear_faults()
        here.move(hours=6)
        here.home.must("enrich_metadata")
        assert here.count("omdb") == {"ok": 60}


@pytest.mark.parametrize(
    ("source", "key"),
    [
        pytest.param("omdb", "wr0ng-s3cret", marks=ANOTHER),
        ("mdblist", "wr0ng-s3cret"),
        pytest.param("mdblist", "0ther-s3cret", marks=ANOTHER),
        pytest.param("mdblist", "th1rd-s3cret", marks=ANOTHER),
    ],
)
def test_a_refused_key_fails_with_one_sentence_and_marks_no_title(library, source: str, key: str):
    """MDBList refuses keys in several ways, one of which is the same as for a batch that is too large."""
    with library(titles(1, 30), step_retries=3, step_retry_wait_seconds=30, **{f"{source}_api_key": key}) as here:
        result = here.run(source)
        message = failures(result)[ASSETS[source]]
        assert LABELS[source] in message and f"Check {source.upper()}_API_KEY" in message
        assert "\n" not in message and "s3cret" not in message
        assert not [event for event in result.all_events if event.is_step_up_for_retry]
        assert "s3cret" not in here.log(result)
        assert here.state.requests(source) <= 4
        assert here.count(source) == {"waiting": 30}
        remembered = here.home.rows("SELECT batch_size, trouble FROM services WHERE service = :source", source=source)
        assert [row["batch_size"] for row in remembered] == [None]
        assert "s3cret" not in remembered[0]["trouble"]
        good = here.home.settings.model_copy(update={f"{source}_api_key": SecretStr(f"demo-{source}-key")})
        here.home = Household(good, here.home.instance, clock=here.clock)
        here.ask(source)
        assert here.count(source) == {"ok": 30}


def test_a_wrong_address_marks_no_title_as_unknown(library):
    with library(titles(1, 30), http_attempts=1) as here:
        for source, path in (("tmdb", "/nowhere"), ("omdb", "/nowhere"), ("mdblist", "/nowhere")):
            wrong = here.home.settings.model_copy(update={f"{source}_url": here.simulator.url + path})
            result = Household(wrong, here.home.instance, clock=here.clock).run(JOBS[source], assets=[ASSETS[source]])
            messages = [*failures(result).values(), *here.why(source).values()]
            assert messages and all(f"APERTURE_{source.upper()}_URL" in said for said in messages)
            assert set(here.count(source)) <= {"waiting", "error"}
