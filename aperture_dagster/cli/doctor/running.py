"""Examine what runs on the home."""

from __future__ import annotations

from collections.abc import Iterator

from aperture_dagster.cli.doctor.finding import Finding
from aperture_dagster.settings import Settings
from aperture_dagster.up.heartbeats import read_parts


def examine_running(settings: Settings) -> Iterator[Finding]:
    """What runs on the home and, if a daemon evaluates them, which schedules are switched off."""
    import dagster as dg

    from aperture_dagster.build import build_definitions

    with dg.DagsterInstance.get() as instance:
        up = read_parts(settings.home_path, instance)
        yield from (Finding(part.name, part.state, part.message) for part in up.parts)
        if not up.schedules_fire:
            return
        switched = {state.instigator_name: state.is_running for state in instance.all_instigator_state()}
    schedules = {
        one.name: switched.get(one.name, one.default_status == dg.DefaultScheduleStatus.RUNNING)
        for one in build_definitions(settings).get_repository_def().schedule_defs
    }
    off = sorted(name for name, is_on in schedules.items() if not is_on)
    about = f"{len(schedules) - len(off)} of {len(schedules)} are on"
    yield Finding("schedules", "ok", f"{about}; switched off: {', '.join(off)}" if off else about)
