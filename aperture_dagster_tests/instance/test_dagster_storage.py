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
