"""The pages on which administrators restore a backup, and drop the databases that restores have replaced."""

from __future__ import annotations

import functools
import logging
import shlex
from collections.abc import Sequence
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from sqlalchemy.exc import SQLAlchemyError
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute

from aperture_dagster.files.private import FileError
from aperture_dagster.front_door.house import House, Visit
from aperture_dagster.front_door.jobs_board import JobsBoard
from aperture_dagster.front_door.operators import after_password, author_of, for_operators, moment_in_words
from aperture_dagster.front_door.restore_order import RestoreOrder, write_order
from aperture_dagster.postgres.backup.folder import Backup, backup_folder, read_backups
from aperture_dagster.postgres.connection import product_database_url
from aperture_dagster.postgres.databases import drop_replaced_database, replaced_databases
from aperture_dagster.postgres.errors import describe_reason
from aperture_dagster.texts import Texts, marked
from aperture_dagster.up import restart

_LOG = logging.getLogger(__name__)
JOBS = "/jobs"
PATH, REPLACED = f"{JOBS}/restore", f"{JOBS}/replaced"
BEGINS_SECONDS = 3
"""After how many seconds the page that announces the restart loads the next one."""
NOT_SURE = marked("Nothing was done: tick the box to say that you mean it.")
BUSY = marked("Nothing was done, since these jobs are running. Stop them, or wait until they have ended:")
HAPPENS = (
    marked("All parts of the program stop. Members see a page that says that a backup is being restored."),
    marked("The backup is written into a new database, beside the present one, which is not touched meanwhile."),
    marked("Then the new one takes its place. The present database is kept whole, under another name, until you "
           "drop it."),
    marked("If anything fails, the present database stays in use; after a power failure, the restore is tried again "
           "with the next start."),
    marked("Everybody signs in again, and connects to Trakt again. API keys that were removed stay removed."),
    marked("Whatever was stored after the backup is no longer there. The next jobs read what the media server knows."),
)  # fmt: skip


def restore_routes(house: House, board: JobsBoard) -> Sequence[BaseRoute]:
    """Return the routes."""
    return [
        house.page(PATH, functools.partial(ask, board)),
        house.form(PATH, functools.partial(order, board)),
        house.page(REPLACED, show_replaced),
        house.form(REPLACED, drop),
    ]


def ask(board: JobsBoard, visit: Visit) -> Response:
    """Show what a restore would do, to somebody who has entered their password within the last minutes."""
    name = visit.request.query_params.get("backup", "")
    return _admitted(visit, f"{PATH}?{urlencode({'backup': name})}") or _asked(
        visit, backup_named(visit, name), board.runs_in_progress()
    )


def _admitted(visit: Visit, target: str) -> Response | None:
    return for_operators(visit, target) or after_password(visit, target)


def backup_named(visit: Visit, name: str) -> Backup:
    """Find a backup by its file name, without a folder. Raises HTTPException 404 if there is none of this name."""
    backups = read_backups(backup_folder(visit.settings))
    backup = next((backup for backup in backups if backup.path.name == name), None)
    if backup is None:
        raise HTTPException(404)
    return backup


def _asked(visit: Visit, backup: Backup, running: list[str], problem: str = "", status: int = 200) -> Response:
    _ = visit.texts
    # Without `aperture up`, nobody could stop the other parts.
    by_hand = "" if restart.is_possible() else f"aperture restore {shlex.quote(str(backup.path))}"
    return visit.render(
        "restore.html", status, heading=_("Restore this backup?"), name=backup.path.name, is_proven=backup.is_proven,
        problem=problem, happens=[_(line) for line in HAPPENS], running=running, busy=_(BUSY), by_hand=by_hand,
        csrf=visit.house.gate.csrf(visit.request),
    )  # fmt: skip


def order(board: JobsBoard, visit: Visit) -> Response:
    """Write down what to restore, and restart all parts; the restore is the first thing that happens then."""
    visit.require_csrf()
    name = visit.form.get("backup", "")
    if (elsewhere := _admitted(visit, f"{PATH}?{urlencode({'backup': name})}")) is not None:
        return elsewhere
    _, backup = visit.texts, backup_named(visit, name)
    if not restart.is_possible():
        raise HTTPException(404)
    if running := board.runs_in_progress():
        return _asked(visit, backup, running, status=409)
    if visit.form.get("sure") != "1":
        return _asked(visit, backup, [], _(NOT_SURE), 422)
    _id, author = author_of(visit)
    try:
        now = visit.house.clock.now()
        write_order(visit.settings, RestoreOrder(backup.path.name, author, now.isoformat(timespec="seconds")))
    except FileError as error:
        return _asked(visit, backup, [], str(error), 503)
    _LOG.warning("%s restores %s on the page of jobs.", author, backup.path.name)
    answer = visit.step(
        _("A backup is being restored"),
        text=_("All parts of the program are being stopped. This page goes on by itself, and says what happens."),
        ends=True,
    )
    answer.headers["refresh"] = f"{BEGINS_SECONDS};url={visit.house.prefix}{JOBS}"
    # Once the page has been sent.
    answer.background = BackgroundTask(restart.restart)
    return answer


def show_replaced(visit: Visit) -> Response:
    """List the databases that restores have replaced, each with a button that drops it."""
    return for_operators(visit, REPLACED) or _replaced(visit)


def _replaced(visit: Visit, problem: str = "") -> Response:
    _ = visit.texts
    return visit.render(
        "replaced.html", 503 if problem else 200, heading=_("Replaced databases"), problem=problem,
        databases=replaced_databases(product_database_url(visit.settings)),
        csrf=visit.house.gate.csrf(visit.request),
    )  # fmt: skip


def drop(visit: Visit) -> Response:
    """Drop one of the replaced databases for good."""
    visit.require_csrf()
    if (elsewhere := _admitted(visit, REPLACED)) is not None:
        return elsewhere
    url, name = product_database_url(visit.settings), visit.form.get("database", "")
    if name not in [database.name for database in replaced_databases(url)]:
        raise HTTPException(404)
    try:
        drop_replaced_database(url, name)
    except SQLAlchemyError as error:
        return _replaced(visit, f"{describe_reason(error)}.")
    _LOG.warning("%s dropped the database %s on the page of jobs.", author_of(visit)[1], name)
    return visit.back(f"{visit.house.prefix}{REPLACED}")


def outcome_in_words(order: RestoreOrder | None, _: Texts, zone: ZoneInfo) -> str:
    """Say how the last restore ended; empty if there was none."""
    if order is None:
        return ""
    words = {"author": order.author, "backup": order.backup, "moment": moment_in_words(_, zone, order.moment)}
    return {
        "done": _("%(author)s restored %(backup)s (%(moment)s).", **words),
        "failed": _("%(backup)s, which %(author)s wanted to restore (%(moment)s), was not restored:", **words),
        "asked": _("%(author)s asked to restore %(backup)s (%(moment)s), which happens with the next start.", **words),
    }[order.state]
