"""The table of jobs in ``docs/jobs.md`` is that of the declarations."""

from __future__ import annotations

import pytest

from aperture_dagster.build import all_jobs, build_definitions
from aperture_dagster.model import in_words
from aperture_dagster.reference import BEGIN, END, job_table, with_job_table
from aperture_dagster.settings import Settings
from aperture_dagster_tests.conftest import PROJECT


def cells(settings: Settings) -> dict[str, list[str]]:
    rows = [line.strip("| ").split(" | ") for line in job_table(settings).splitlines()[2:]]
    return {row[0].strip("`"): row[1:] for row in rows}


def test_the_page_is_up_to_date(settings: Settings):
    page = (PROJECT / "docs" / "jobs.md").read_text(encoding="utf-8")
    assert page == with_job_table(page, settings), "run: python -m aperture_dagster.reference"


def test_the_table_has_each_declared_job_once(settings: Settings):
    assert list(cells(settings)) == [job.name for job in all_jobs(settings)]
    assert len(cells(settings)) == len(job_table(settings).splitlines()) - 2


def test_the_page_names_every_job_that_the_ui_shows(settings: Settings):
    page = (PROJECT / "docs" / "jobs.md").read_text(encoding="utf-8")
    shown = [job.name for job in build_definitions(settings).jobs or []]
    assert [name for name in shown if f"`{name}`" not in page] == []


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("*/15 * * * *", "every 15 minutes"),
        ("0 */3 * * *", "every 3 hours"),
        ("5 9 * * *", "09:05"),
        ("30 */3 * * *", "`30 */3 * * *`"),
        ("5 4 * * 1", "Monday 04:05"),
        ("5 4 1 * *", "`5 4 1 * *`"),
    ],
)
def test_a_cron_is_put_into_words_if_there_is_a_common_phrase(cron: str, words: str):
    assert in_words(cron) == words


def test_it_says_what_starts_a_job_besides_the_clock(settings: Settings):
    assert cells(settings)["enrich_studio_logos"][0] == "every 2 hours, on upstream change"
    assert cells(settings)["generate_embeddings"][0].endswith(", on upstream change")
    assert cells(settings)["first_list"][0] == "when a user joins"
    # Only one of its assets is also materialized on upstream change.
    assert "on upstream change" not in cells(settings)["enrich_metadata"][0]


def test_it_says_what_a_job_materializes_and_does(settings: Settings):
    (job,) = (job for job in all_jobs(settings) if job.name == "sync_series")
    assert cells(settings)["sync_series"][1:] == ["`series`, `episodes`", job.description]


@pytest.mark.parametrize("page", ["", f"{BEGIN}\n", f"{END}\n{BEGIN}\n", f"{BEGIN}\n{END}\n{BEGIN}\n{END}\n"])
def test_a_page_without_its_markers_is_refused(settings: Settings, page: str):
    with pytest.raises(ValueError, match="once each"):
        with_job_table(page, settings)
