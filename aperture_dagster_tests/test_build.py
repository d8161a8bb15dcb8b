"""What `build_definitions` refuses, before Dagster loads anything."""

from __future__ import annotations

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
