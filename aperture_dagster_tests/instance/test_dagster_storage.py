"""Dagster's own storage on the embedded server."""

from __future__ import annotations

import tempfile
from pathlib import Path

import dagster as dg
import psutil
import pytest

from aperture_dagster.storage.embedded import release_embedded_server
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.processes import all_gone, processes_of


def test_dagster_restarts_a_killed_server(monkeypatch: pytest.MonkeyPatch):
    with tempfile.TemporaryDirectory(prefix="aperture-storage-", ignore_cleanup_errors=True) as folder:
        home = Path(folder).resolve()
        monkeypatch.setenv("APERTURE_HOME", str(home))
        monkeypatch.setenv("DAGSTER_HOME", str(PROJECT))
        try:
            with dg.DagsterInstance.get() as instance:
                run = instance.create_run_for_job(dg.GraphDefinition(name="kept").to_job())
                servers = processes_of(home / "postgres")
                assert servers
                for server in servers:
                    server.kill()
                psutil.wait_procs(servers, timeout=10)
                assert [found.run_id for found in instance.get_runs()] == [run.run_id]
        finally:
            release_embedded_server(home / "postgres")
        assert all_gone(home)


@dg.op
def stumble() -> None:
    raise RuntimeError("out of luck")


def test_runs_keep_what_happened_and_leave_out_the_talk_about_processes(instance: dg.DagsterInstance):
    job = dg.GraphDefinition(name="unlucky", node_defs=[stumble]).to_job()
    run = job.execute_in_process(instance=instance, raise_on_error=False)
    instance.report_engine_event("Started process for run (pid: 1).", run.dagster_run)
    instance.report_engine_event("The run was canceled by hand.", run.dagster_run)
    kept = [event.dagster_event for event in instance.all_logs(run.run_id) if event.dagster_event is not None]
    types = [event.event_type for event in kept]
    for expected in (dg.DagsterEventType.RUN_START, dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE):
        assert expected in types
    assert dg.DagsterEventType.RESOURCE_INIT_SUCCESS not in types
    talk = [event.message for event in kept if event.event_type == dg.DagsterEventType.ENGINE_EVENT]
    assert talk == ["The run was canceled by hand."]
