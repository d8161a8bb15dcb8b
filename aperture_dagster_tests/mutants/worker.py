"""Run tests in forked children of a process that has imported what is slow to import.

Run as a program inside a copy of the project; it answers each request, a line of JSON, with a line of JSON. It imports
nothing of the product: a child imports it, mutated, before pytest imports the tests.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SLOW_TO_IMPORT = (
    "PIL.Image", "alembic.command", "apprise", "cryptography.x509", "dagster", "dagster_postgres", "httpx",
    "hypothesis", "numpy", "openapi_core", "pandas", "pgvector.sqlalchemy", "psycopg", "psutil", "pydantic_settings",
    "pytest", "rich.console", "rich.table", "sqlalchemy.dialects.postgresql", "starlette.routing",
    "uvicorn", "coverage", "_pytest.assertion.rewrite",
)  # fmt: skip
LEFT_OUT = "not (nightly or ui or namespaces or root)"
SHARED_POSTGRES = "TESTS_POSTGRES_URL"
PATIENCE = 120.0
"""Seconds of wall time that tests may need beyond a multiple of their own: other processes use the machine, too."""


def pytest_options() -> list[str]:
    """Return the options of every run."""
    plugins = ("xdist", "cacheprovider")
    return [
        "-q",
        "-rN",
        "--tb=line",
        "--no-header",
        "--assert=plain",
        "-m",
        LEFT_OUT,
        *(f"-pno:{one}" for one in plugins),
    ]


def digest(file: Path) -> str:
    """Return a digest of a file; empty if there is none."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    except OSError:
        return ""


class Recorder:
    """A plugin that runs tests in a given order, file by file, and notes how many ran, and which failed first."""

    def __init__(self, stages: list[list[str]]) -> None:
        order = [test for stage in stages for test in stage]
        files = dict.fromkeys(test.partition("::")[0] for test in order)
        self._files = {file: place for place, file in enumerate(files)}
        self._tests = {test: place for place, test in enumerate(order)}
        self.ran = 0
        self.failed: str | None = None

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Sort the tests, which conftest.py sorts otherwise."""
        items.sort(key=lambda one: (self._files[one.nodeid.partition("::")[0]], self._tests.get(one.nodeid, 0)))

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Note a result."""
        self.ran += report.when == "call"
        if report.failed and self.failed is None:
            self.failed = report.nodeid

    def pytest_collectreport(self, report: Any) -> None:
        """Note a file that cannot be imported."""
        if report.failed and self.failed is None:
            self.failed = report.nodeid or "import"


def quick_hypothesis() -> None:
    """Let hypothesis draw the same examples each time, keep none, and not look for the smallest failure."""
    from hypothesis import Phase, settings

    phases = (Phase.explicit, Phase.generate)
    settings.register_profile("mutants", derandomize=True, database=None, deadline=None, phases=phases)
    settings.load_profile("mutants")


def test(stages: list[list[str]]) -> dict[str, Any]:
    """Run tests, stage by stage, until one fails."""
    quick_hypothesis()
    recorder = Recorder(stages)
    for stage in stages:
        code = int(pytest.main([*pytest_options(), "-x", *stage], [recorder]))
        if code not in (0, 5):
            # A module that conftest.py imports is broken: pytest stops before it collects anything.
            return {"code": code, "failed": recorder.failed or ("import" if code == 4 else None), "ran": recorder.ran}
    return {"code": 0, "failed": None, "ran": recorder.ran}


class Child:
    """A forked child: its result, how it ended, and what it cost."""

    def __init__(self, work: Callable[[], dict[str, Any]], *, cpu: float, wall: float) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="mutant-"))
        self.output = ""
        try:
            self._run(work, cpu, wall)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, work: Callable[[], dict[str, Any]], cpu: float, wall: float) -> None:
        started = time.monotonic()
        process = os.fork()
        if process == 0:
            self._work(work, cpu)
        late = threading.Timer(wall, lambda: os.killpg(process, signal.SIGKILL))
        late.start()
        _, status, usage = os.wait4(process, 0)
        self.wall = time.monotonic() - started
        late.cancel()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process, signal.SIGKILL)  # What the tests started.
        self.cpu = usage.ru_utime + usage.ru_stime
        self.signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        self.timed_out = self.signal == signal.SIGXCPU or (self.signal == signal.SIGKILL and self.wall >= wall)
        result = self.folder / "result.json"
        self.result: dict[str, Any] = json.loads(result.read_text()) if result.exists() else {}
        with contextlib.suppress(OSError):
            self.output = (self.folder / "output").read_text(errors="replace")[-3000:]

    def _work(self, work: Callable[[], dict[str, Any]], cpu: float) -> None:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (int(cpu) + 1, int(cpu) + 6))
        output = os.open(self.folder / "output", os.O_WRONLY | os.O_CREAT)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.environ["TMPDIR"] = tempfile.tempdir = str(self.folder)
        code = 1
        try:
            result = work()
            (self.folder / "result.part").write_text(json.dumps(result))
            (self.folder / "result.part").rename(self.folder / "result.json")
            code = 0
        finally:
            sys.stdout.flush()
            os._exit(code)


@contextlib.contextmanager
def mutated(path: str, source: str | None) -> Iterator[None]:
    """Put a mutated source in place of a file of the copy."""
    if source is None:
        yield
        return
    file = Path(path)
    original = file.read_bytes()
    # Python trusts a compiled file of the same second and size.
    for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
        compiled.unlink()
    try:
        file.write_text(source, encoding="utf-8")
        yield
    finally:
        file.write_bytes(original)


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Carry a request out."""
    if "observe" in request:
        from aperture_dagster_tests.mutants.observer import observe

        child = Child(lambda: observe(request["observe"], Path(request["into"])), cpu=900, wall=3000)
        _drop_databases()
        return {"cpu": child.cpu, "wall": child.wall, "output": child.output, **child.result}
    with mutated(request["path"], request.get("source")):
        child = Child(lambda: test(request["stages"]), cpu=request["cpu"], wall=request["wall"])
    _drop_databases()
    return {
        "cpu": child.cpu,
        "wall": child.wall,
        "output": child.output,
        "timed_out": child.timed_out,
        "crashed": not child.timed_out and not child.result,
        **child.result,
    }


@contextlib.contextmanager
def postgres() -> Iterator[None]:
    """Start a PostgreSQL server that all tests of this worker share, made by the product as it is."""
    folder = Path(tempfile.mkdtemp(prefix="mutants-postgres-"))
    read, write = os.pipe()
    release_read, release_write = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(release_write)
        try:
            # The fixture itself, in a process that lives as long as this one.
            from aperture_dagster_tests import conftest

            os.environ.pop(SHARED_POSTGRES, None)
            fixture = conftest.postgres
            tempfile.tempdir = str(folder)
            server = getattr(fixture, "__wrapped__", None) or fixture._get_wrapped_function()
            running = server()
            os.write(write, next(running).encode() + b"\n")
            os.read(release_read, 1)
            next(running, None)
        finally:
            os._exit(0)
    os.close(write)
    os.close(release_read)
    with os.fdopen(read) as stream:
        os.environ[SHARED_POSTGRES] = stream.readline().strip()
    try:
        yield
    finally:
        os.close(release_write)
        os.waitpid(process, 0)
        shutil.rmtree(folder, ignore_errors=True)


def _drop_databases() -> None:
    """Drop what the tests left on the shared server; one that is theirs alone ends with them."""
    import psycopg

    if SHARED_POSTGRES not in os.environ:
        return
    url = os.environ[SHARED_POSTGRES].replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(url, autocommit=True) as connection:
        rows = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'test\\_%'").fetchall()
        for (name,) in rows:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())


def main() -> None:
    """Answer requests until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.dont_write_bytecode = True
    # A child may not use threads that its parent had: numpy's, for example.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    with postgres():
        for name in SLOW_TO_IMPORT:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        for line in sys.stdin:
            answers.write(json.dumps(answer(json.loads(line))) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
