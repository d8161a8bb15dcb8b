"""Fixtures of all tests: isolated settings, a temporary PostgreSQL server, and the simulated services over HTTP."""

from __future__ import annotations

import contextlib
import functools
import gc
import getpass
import importlib.util
import ipaddress
import os
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import hypothesis
import psutil
import pytest

from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import FROM_FILE, Settings, environment_names, load_settings
from aperture_dagster.simulator.counters import UNMODELLED_LOG
from aperture_dagster.simulator.server import RunningSimulator, running_simulator
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.world import World
from aperture_dagster_tests.marks import MISSING

if TYPE_CHECKING:
    from aperture_dagster_tests.databases import SpareDatabases
    from aperture_dagster_tests.inbox import Inbox

pytest_plugins = ["aperture_dagster_tests.shelf", "aperture_dagster_tests.services"]

PROJECT = Path(__file__).resolve().parents[1]
HISTORIES = PROJECT / "aperture_dagster_tests" / "data" / "movielens"
"""A slice of real watch histories, in the format of ``SHARED_DATA``; its README says which."""
SHARED_DATA = PROJECT.parent / "shared" / "data"
SHARED_SPECS = PROJECT.parent / "shared" / "specs"


def load_script(path: str) -> ModuleType:
    """Return a script of the project, which is in no package, as a module."""
    script = PROJECT / path
    spec = importlib.util.spec_from_file_location(script.stem, script)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Where its dataclasses look for it.
    sys.modules[script.stem] = module
    spec.loader.exec_module(module)
    return module


# The same examples in every run, however slow the machine is; `make nightly` chooses more.
PATIENT = hypothesis.settings(database=None, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("night", PATIENT, max_examples=1000)
hypothesis.settings.register_profile("every day", PATIENT, derandomize=True, max_examples=25)
hypothesis.settings.load_profile("every day")

MEMORY = Path("/dev/shm")
ROOM = 4 * 1024**3


def _keep_temporary_files_in_memory() -> None:
    """Put the temporary files of this process and its children into memory, if there is room.

    A test's database is a copy of some 350 files: most of its cost, on a disk, is creating and removing them. A
    ``TMPDIR`` in the environment wins.
    """
    if "TMPDIR" in os.environ or not os.access(MEMORY, os.W_OK):
        return
    if min(shutil.disk_usage(MEMORY).free, psutil.virtual_memory().available) > ROOM:
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)


# Before pytest makes its own folder, and before pytest-xdist starts the workers.
_keep_temporary_files_in_memory()


def pytest_configure(config: pytest.Config) -> None:
    """Let workers and programs keep what Python compiles: for each, compiling takes ten times as long as the rest."""
    if config.getoption("numprocesses", None):
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


SHARING = (
    ("of programs", re.compile(r"/e2e/test_(demo_and_up|secrets|operator_mistakes)\.py")),
    ("copies of households", re.compile(r"/e2e/|/cli/test_publish\.py")),
    ("the source", re.compile(r"/test_(structure|ownership|packaging|private)\.py")),
)
"""Files that use the same, which takes long to make; the first pattern that fits counts."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each file to one worker, and files that share something to the same one, which then makes it once."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return next((shared for shared, pattern in SHARING if pattern.search(file)), file)

    return Scheduling(config, log)


SLOWER = {"nightly": 3600, "containers": 1800}
"""Seconds after which a test with a mark is given up; other tests have those of ``pyproject.toml``."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what is long first, so that no worker is left with it at the end, and be patient with it."""
    for item in items:
        patience = [seconds for mark, seconds in SLOWER.items() if item.get_closest_marker(mark)]
        if patience and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(max(patience)))
    marks = {"ui", "e2e", "namespaces", "root"}
    long = {item.path for item in items if marks & {mark.name for mark in item.iter_markers()}}
    long |= {item.path for item in items if item.path.name == "test_supervisor.py"}
    items.sort(key=lambda item: item.path not in long)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Iterator[None]:
    """Do without garbage collection while some 1,000 modules are imported, and never look for garbage among them.

    Afterwards, look less often: Dagster makes many objects in each run, and few cycles.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(100_000, 50, 100)
        gc.enable()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Say at the very end how many tests were skipped for want of a program, and how to get it."""
    yield
    reasons = [str(report.longrepr[-1]).removeprefix("Skipped: ") for report in terminalreporter.getreports("skipped")]
    for reason, count in Counter(reason for reason in reasons if MISSING in reason).items():
        terminalreporter.write_line(f"{count} skipped: {reason}", yellow=True)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    """Remove the folder around pytest's temporary folders, which pytest itself leaves behind.

    Garbage is looked for once. Pytest would do so five times, which takes seconds.
    """
    gc.collect()
    gc.freeze()
    with contextlib.suppress(OSError):
        Path(tempfile.gettempdir(), f"pytest-of-{getpass.getuser()}").rmdir()


EXTERNAL_HOSTS: list[str] = []
"""Other hosts that this process looked up or connected to."""


def _record_external_host(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host or "localhost")
    # Reserved names, which tests of wrong addresses use.
    if name == "localhost" or name.endswith((".invalid", ".localhost")):
        return
    with contextlib.suppress(ValueError):
        if (address := ipaddress.ip_address(name)).is_loopback or address.is_unspecified:
            return
    EXTERNAL_HOSTS.append(name)


sys.addaudithook(_record_external_host)


@pytest.fixture(autouse=True)
def no_external_requests() -> Iterator[None]:
    """Fail a test that contacts another host: its result would depend on the network."""
    EXTERNAL_HOSTS.clear()
    yield
    assert not EXTERNAL_HOSTS, f"contacted {', '.join(sorted(set(EXTERNAL_HOSTS)))}; tests may only use the stand-ins"


@pytest.fixture(scope="session", autouse=True)
def unmodelled_log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The file to which the stand-ins of this process and its children log unmodelled requests."""
    log = tmp_path_factory.mktemp("stand-ins") / "unmodelled"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(UNMODELLED_LOG, str(log))
        yield log


@pytest.fixture(autouse=True)
def no_unmodelled_requests(request: pytest.FixtureRequest, unmodelled_log: Path) -> Iterator[None]:
    """Fail a test that sends a route, parameter or value that a stand-in does not model.

    A test that does so on purpose is marked ``requests_unmodelled``, and fails if it does not.
    """
    yield
    # Not cleared before the test: requests of a wider fixture count for the test that needed the fixture.
    try:
        unmodelled = dict.fromkeys(unmodelled_log.read_text(encoding="utf-8").splitlines())
        unmodelled_log.unlink()
    except FileNotFoundError:
        unmodelled = {}
    if request.node.get_closest_marker("requests_unmodelled"):
        assert unmodelled, "the test sent no unmodelled request: remove the mark"
    else:
        assert not unmodelled, "; ".join(unmodelled)


SETTINGS_IN_ENVIRONMENT = frozenset(env for one in Settings.model_fields for env in environment_names(one))


@pytest.fixture(autouse=True)
def isolated_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the developer's own settings from the tests."""
    for name in list(os.environ):
        if name.startswith("APERTURE_") or name in SETTINGS_IN_ENVIRONMENT or name == FROM_FILE:
            monkeypatch.delenv(name)
    # That of the checkout.
    monkeypatch.setattr("aperture_dagster.settings.env_file", lambda: Path(os.devnull))


@pytest.fixture(autouse=True)
def no_locked_runs() -> Iterator[None]:
    """Unlock runs that a test left unfinished, as the end of their process would.

    Otherwise, once their database is gone, the lock would end the process of the tests.
    """
    yield
    if module := sys.modules.get("aperture_dagster.instance.run_lock"):
        for run_id in list(module._held):
            module.unlock_run(run_id)


@pytest.fixture(scope="session", autouse=True)
def prepared_libraries() -> Iterator[None]:
    """Do once what these libraries do once in a program, and would do anew in each test.

    That is to read the certificates of authorities, each path of the stand-ins, each template, and each migration.
    """
    from alembic.script import base
    from httpx._transports import default
    from jinja2 import Environment
    from starlette import routing

    compile_template, load_file = Environment.compile, base.util.load_python_file
    templates: dict[Any, Any] = {}
    load_migration = functools.cache(load_file)

    def compiled(environment: Environment, source: Any, *named: Any, **how: Any) -> Any:
        key = (source, named, environment.autoescape, environment.trim_blocks, environment.lstrip_blocks)
        if not isinstance(source, str) or how:
            return compile_template(environment, source, *named, **how)
        if key not in templates:
            templates[key] = compile_template(environment, source, *named)
        return templates[key]

    def loaded(folder: Any, name: Any) -> Any:
        # The others, such as env.py, are programs.
        return (load_migration if str(folder).endswith("versions") else load_file)(folder, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(default, "create_ssl_context", functools.cache(default.create_ssl_context))
        patch.setattr(routing, "compile_path", functools.cache(routing.compile_path))
        patch.setattr(Environment, "compile", compiled)
        patch.setattr(base.util, "load_python_file", loaded)
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Start a PostgreSQL server with a migrated database ``template_aperture`` for this process; yield its URL.

    Processes that run few tests each share the server that ``TESTS_POSTGRES_URL`` names.
    """
    from sqlalchemy import create_engine, text

    from aperture_dagster.postgres.cluster import ROLE, Cluster
    from aperture_dagster.postgres.embedded import release_embedded_server, start_embedded_server
    from aperture_dagster.postgres.migrate import ensure_schema
    from aperture_dagster_tests.databases import dagsters_tables_copied

    if shared := os.environ.get("TESTS_POSTGRES_URL"):
        with dagsters_tables_copied(shared):
            yield shared
        return
    with tempfile.TemporaryDirectory(prefix="aperture-tests-", ignore_cleanup_errors=True) as folder:
        data = Path(folder) / "postgres"
        start_embedded_server(data)
        # What tests do to the server itself takes a superuser; the product works as its own role, in databases of it.
        url = Cluster(data).superuser_url.replace("postgresql://", "postgresql+psycopg://")
        # Some tests log in as other roles.
        (data / "pg_hba.conf").write_text("local all postgres peer map=aperture\nlocal all all trust\n")
        admin = create_engine(url, isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            # Test data need not survive a power failure, and is deleted soon.
            for setting in ("fsync", "full_page_writes", "synchronous_commit", "autovacuum"):
                connection.execute(text(f"ALTER SYSTEM SET {setting} = off"))
            connection.execute(text("SELECT pg_reload_conf()"))
            connection.execute(text(f"CREATE DATABASE template_aperture OWNER {ROLE}"))
            # To empty a database between two tests takes no heed of foreign keys.
            connection.execute(text(f"GRANT SET ON PARAMETER session_replication_role TO {ROLE}"))
        template = create_engine(admin.url.set(database="template_aperture", username=ROLE))
        ensure_schema(template)
        template.dispose()
        admin.dispose()
        try:
            with dagsters_tables_copied(url):
                yield url
        finally:
            release_embedded_server(data)


@pytest.fixture(scope="session")
def templates(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Households to copy."""
    from aperture_dagster_tests.settled import Templates

    made = Templates(postgres, tmp_path_factory.mktemp("templates"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def spare_databases(postgres: str) -> SpareDatabases:
    """Return the databases that the tests of this process use one after another."""
    from aperture_dagster_tests.databases import SpareDatabases

    return SpareDatabases(postgres)


@pytest.fixture
def database_url(spare_databases: SpareDatabases) -> Iterator[str]:
    """Yield the URL of a migrated, empty database, which belongs to one test."""
    with spare_databases.one() as url:
        yield url


@pytest.fixture(scope="session")
def empty_instance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an instance of Dagster's own, on SQLite, in which nothing has run."""
    import dagster as dg

    folder = tmp_path_factory.mktemp("instance")
    with dg.instance_for_test(temp_dir=str(folder)) as instance:
        # Each makes its tables when it is first used.
        instance.get_runs()
        instance.all_asset_keys()
        instance.all_instigator_state()
    return folder


@pytest.fixture
def isolated_dagster_instance(empty_instance: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let ``DagsterInstance.get()`` return an instance that belongs to one test."""
    import dagster as dg

    folder = shutil.copytree(empty_instance, tmp_path_factory.mktemp("instance"), dirs_exist_ok=True)
    with dg.instance_for_test(temp_dir=str(folder)):
        yield


@pytest.fixture
def instance() -> Iterator[Any]:
    """Yield an instance of Dagster's own, in memory."""

    from aperture_dagster_tests.instances import instance_in_memory

    with instance_in_memory() as instance:
        yield instance


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    """Yield an address for alerts."""
    from aperture_dagster_tests.inbox import open_inbox

    with open_inbox() as inbox:
        yield inbox


@pytest.fixture
def make_settings(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Settings]:
    """Return a function that makes settings with this test's database and short retries; all can be overridden."""

    def make(**overrides: Any) -> Settings:
        values: dict[str, Any] = {
            "home": tmp_path / "home",
            "timezone": "UTC",
            "http_attempts": 2,
            "http_retry_wait_seconds": 0.01,
            "step_retries": 0,
            "step_retry_wait_seconds": 0,
        }
        if "database_url" not in overrides:
            values["database_url"] = request.getfixturevalue("database_url")
        return load_settings(**values | overrides)

    return make


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    """Return settings with this test's database and no configured service."""
    return make_settings()


@pytest.fixture
def database(settings: Settings) -> Database:
    """Return this test's database."""
    return Database(settings)


@contextmanager
def tuned(*, page_size: int | None = None, batch: int | None = None, concurrency: int | None = None) -> Iterator[None]:
    """Let the product ask the stand-ins as fast as they answer, and in smaller portions than the real services."""
    from aperture_dagster.enrichment.mdblist import source as mdblist
    from aperture_dagster.enrichment.sources import SERVICES
    from aperture_dagster.media_server.reader import MediaServerReader

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mdblist, "RATE", (900, 1.0))
        if page_size is not None:
            patch.setattr(MediaServerReader, "usual_page_size", page_size)
        if batch is not None:
            patch.setattr(mdblist, "BATCH", batch)
        usual = [(service, service.concurrency) for service in SERVICES]
        try:
            for service, own in usual:
                object.__setattr__(service, "concurrency", own if concurrency is None else min(concurrency, own))
            yield
        finally:
            for service, own in usual:
                object.__setattr__(service, "concurrency", own)


@pytest.fixture
def serve(make_settings: Callable[..., Settings]) -> Callable[..., Any]:
    """Run the stand-ins, with settings that use them: ``with serve(world, **settings) as (simulator, settings)``."""

    @contextmanager
    def serving(
        world: World, *, stand_ins: SimulatorSettings | None = None, server: str = "jellyfin", **overrides: Any
    ) -> Iterator[tuple[RunningSimulator, Settings]]:
        tuning = {name: overrides.pop(name) for name in ("page_size", "batch", "concurrency") if name in overrides}
        with tuned(**tuning), running_simulator(world, stand_ins) as simulator:
            values: dict[str, Any] = {
                "media_server_url": simulator.emby_url if server == "emby" else simulator.jellyfin_url,
                "media_server_api_key": f"demo-{server}-key",
                "tmdb_url": simulator.tmdb_url,
                "tmdb_api_key": "demo-tmdb-key",
                "tmdb_requests": 9000,
                "tmdb_image_url": simulator.tmdb_images_url,
                "omdb_url": simulator.omdb_url,
                "omdb_api_key": "demo-omdb-key",
                "mdblist_url": simulator.mdblist_url,
                "mdblist_api_key": "demo-mdblist-key",
                "prices_url": simulator.prices_url,
                "seerr_url": simulator.seerr_url,
                "seerr_api_key": "demo-seerr-key",
                "embedder_url": simulator.openai_url,
                "embedder_api_key": "demo-openai-key",
                "embedder_model": "demo-embedding",
            }
            yield simulator, make_settings(**values | overrides)

    return serving
