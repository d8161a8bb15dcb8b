"""Runs in any state, as the sensors find them."""

from __future__ import annotations

import dagster as dg
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

UNFINISHED = ["QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING"]
ENDED = ["SUCCESS", "FAILURE", "CANCELED"]


def add_run(instance: dg.DagsterInstance, job: str, status: str, **tags: str) -> dg.DagsterRun:
    """Store a run; Dagster takes a queued one only with the place that it comes from."""
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("aperture"), "__repository__")
    return instance.add_run(
        dg.DagsterRun(
            job_name=job,
            status=dg.DagsterRunStatus(status),
            tags=tags,
            remote_job_origin=RemoteJobOrigin(repository, job),
        )
    )
