"""The doctor reports each problem with its remedy, and always completes all checks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest

from aperture_dagster.cli.doctor import Finding, examine
from aperture_dagster.settings import Settings
from aperture_dagster.simulator.odd_world import odd_world


@pytest.fixture(autouse=True)
def isolated_dagster_instance() -> Iterator[None]:
    with dg.instance_for_test():
        yield


def _by_name(settings: Settings) -> dict[str, Finding]:
    return {finding.what: finding for finding in examine(settings)}


def test_a_working_system_is_reported_as_ok(serve: Callable[..., Any]) -> None:
    with serve(odd_world(datetime.now(UTC))) as (_, settings):
        findings = _by_name(settings)
    assert {findings[what].state for what in ("home", "database", "media server", "TMDb", "embedder")} == {"ok"}
    assert "12.0.0" in findings["media server"].message
    assert "pgvector 0." in findings["database"].message
    assert findings["sync_users_schedule"].state == "ok" and "next 20" in findings["sync_users_schedule"].message


def test_a_service_that_is_not_configured_is_off_and_names_the_setting(settings: Settings) -> None:
    findings = _by_name(settings)
    assert findings["media server"].state == findings["TMDb"].state == "off"
    assert "APERTURE_MEDIA_SERVER_URL" in findings["media server"].message
    assert "TMDB_API_KEY" in findings["TMDb"].message


def test_a_refused_key_is_reported_with_the_name_of_its_setting_and_without_its_value(
    serve: Callable[..., Any],
) -> None:
    wrong = {"media_server_api_key": "secret-of-the-server", "tmdb_api_key": "secret-of-tmdb"}
    with serve(odd_world(datetime.now(UTC)), **wrong) as (_, settings):
        findings = _by_name(settings)
    assert findings["media server"].state == findings["TMDb"].state == "failed"
    assert "APERTURE_MEDIA_SERVER_API_KEY" in findings["media server"].message
    assert "TMDB_API_KEY" in findings["TMDb"].message
    assert "secret-of" not in str(findings)


def test_an_unreachable_database_hides_no_other_finding(make_settings: Callable[..., Settings]) -> None:
    findings = _by_name(make_settings(database_url="postgresql://somebody:pass-of-mine@127.0.0.1:9/nothing"))
    assert findings["database"].state == "failed" and "APERTURE_DATABASE_URL" in findings["database"].message
    assert findings["home"].state == findings["embedder"].state == "ok"
    assert "pass-of-mine" not in str(findings)


def test_an_unforeseen_error_is_one_finding_without_secrets(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise LookupError("no answer for\nsecret-of-openai")

    monkeypatch.setattr("aperture_dagster.cli.doctor.Embedders.get", fail)
    findings = _by_name(make_settings(embedder_api_key="secret-of-openai"))
    assert findings["embedder"].state == "failed"
    assert findings["embedder"].message.startswith("LookupError: no answer for ")
    assert "secret-of" not in str(findings) and "\n" not in findings["embedder"].message
    assert findings["sync_users_schedule"].state == "ok", "later checks still run"


def test_the_last_run_of_a_schedule_and_its_outcome_are_shown(settings: Settings) -> None:
    @dg.job
    def read() -> None: ...

    with dg.DagsterInstance.get() as instance:
        read.execute_in_process(instance=instance, tags={"dagster/schedule_name": "sync_users_schedule"})
    findings = _by_name(settings)
    assert re.search(r"last run 20\d\d-\S+ \d\d:\d\d\S* \(success\)", findings["sync_users_schedule"].message)
    assert "last run never" in findings["sync_movies_schedule"].message


def test_schedules_that_are_switched_off_are_reported_as_off(make_settings: Callable[..., Settings]) -> None:
    finding = _by_name(make_settings(schedules_enabled=False))["sync_movies_schedule"]
    assert finding.state == "off" and "switched off" in finding.message
