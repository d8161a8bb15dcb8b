"""What `build_definitions` refuses, before Dagster loads anything, and how many threads numpy computes in."""

from __future__ import annotations

import os

import pytest

from aperture_dagster.build import build_definitions
from aperture_dagster.settings import SettingsError, load_settings


def test_a_schedule_of_a_job_that_does_not_exist_is_refused_with_the_nearest_name():
    settings = load_settings(schedules={"sync_movie": "0 4 * * *"})
    with pytest.raises(SettingsError, match="no scheduled job is named 'sync_movie'; did you mean 'sync_movies'"):
        build_definitions(settings)


def test_a_part_that_does_not_exist_is_refused():
    with pytest.raises(TypeError, match="no part clocks: there are settings, database, clock"):
        build_definitions(load_settings(), clocks=None)


def test_numpy_computes_in_one_thread_unless_asked_for_more(monkeypatch: pytest.MonkeyPatch):
    """That numpy is loaded later is in ``test_structure.py``."""
    for asked, found in ((None, "1"), ("2", "2")):
        monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
        if asked:
            monkeypatch.setenv("OPENBLAS_NUM_THREADS", asked)
        # It is set before anything is built, and before the part that does not exist is refused.
        with pytest.raises(TypeError, match="no_such_part"):
            build_definitions(no_such_part=None)
        assert os.environ["OPENBLAS_NUM_THREADS"] == found
