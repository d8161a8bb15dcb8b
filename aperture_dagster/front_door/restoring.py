"""The restore itself, which `aperture up` runs before anything else while every address says that it is under way.

It is ``aperture restore`` in a process of its own, with the same guards and the same sentences.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from aperture_dagster.front_door.gate import texts_for
from aperture_dagster.front_door.rendering import Renderer, as_page
from aperture_dagster.front_door.restore_order import MOST_ATTEMPTS, RestoreOrder, read_order, write_order
from aperture_dagster.front_door.server import create_server
from aperture_dagster.front_door.single_page import single_page
from aperture_dagster.postgres.backup.folder import backup_folder
from aperture_dagster.settings import Settings
from aperture_dagster.texts import marked
from aperture_dagster.up.health import RESTORING
from aperture_dagster.up.restart import listen

REFRESH_SECONDS = 3
STEPS = {
    "Restoring": marked("The backup is being written into a new database. The present one is not touched."),
    "Migrating": marked("The new database is being brought up to date with this version."),
    "Putting": marked("The new database takes the place of the present one, which is kept under another name."),
}
"""What the page says, by the first word of a step of ``aperture restore``: that itself is for the operator's eyes."""
CUT_OFF = (
    f"The restore was begun {MOST_ATTEMPTS} times and cut off each time, so it is not tried again. The log of this "
    "program may say why; the memory or the disk may be full."
)


def restore_as_asked(
    settings: Settings, host: str, port: int, listening: int | None, say: Callable[[str], None]
) -> int | None:
    """Carry out the restore that was asked for in the browser, if there is one; note how it ended.

    Args:
        settings: the home, whose lock is held: nothing else runs.
        host, port: where the web server will listen.
        listening: descriptor of a socket that listens there already.
        say: called with the lines that ``aperture restore`` prints.

    Returns:
        The descriptor of the listening socket, which the web server takes over; None if nothing listens yet.
    """
    order = read_order(settings)
    if order is None or order.state != "asked":
        return listening
    if order.attempts >= MOST_ATTEMPTS:
        write_order(settings, replace(order, state="failed", said=[CUT_OFF]))
        return listening
    order = replace(order, attempts=order.attempts + 1)
    write_order(settings, order)
    if listening is None:
        with listen(host, port) as made:
            listening = made.detach()
        os.set_inheritable(listening, True)
    steps: list[str] = []

    def report(line: str) -> None:
        steps.append(line)
        say(line)

    with _explained(listening, steps):
        code, said = _run(settings, order, report)
    write_order(settings, replace(order, state="failed" if code else "done", said=said))
    return listening


def _run(settings: Settings, order: RestoreOrder, report: Callable[[str], None]) -> tuple[int, list[str]]:
    """Run the command; return its exit code, and the sentences about how it ended."""
    path = backup_folder(settings) / order.backup
    program = [sys.executable, "-P", "-m", "aperture_dagster.cli.main", "restore", "--yes", str(path)]
    # Without this, a signal to this process alone would leave the command behind.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    said: list[str] = []
    try:
        with subprocess.Popen(
            program, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as command:
            try:
                assert command.stdout is not None
                for line in filter(None, map(str.strip, command.stdout)):
                    report(line)
                    said = [] if line.startswith(tuple(STEPS)) else [*said, line]
            except BaseException:
                command.terminate()
                raise
        return command.returncode, said
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _explained(listening: int, steps: list[str]) -> Iterator[None]:
    """Serve the page that says what happens, on a socket that stays open."""
    server = create_server(restoring_page(steps), log_level="warning")
    with socket.socket(fileno=listening) as whole:
        shared = whole.dup()
        whole.detach()
    thread = threading.Thread(target=server.run, args=([shared],), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


def restoring_page(steps: list[str]) -> Starlette:
    """Return an application that says at every address which of the steps has begun last.

    It names nothing: nobody can sign in meanwhile, so whoever asks gets the same answer.
    """
    renderer = Renderer("")

    def page(request: Request) -> Response:
        _ = texts_for(request)
        known = [STEPS[word] for word in (line.partition(" ")[0] for line in steps) if word in STEPS]
        step = _(known[-1]) if known else _("The backup is being looked at.")
        answer = as_page(renderer.text("restoring.html", _, heading=_("A backup is being restored"), step=step), 503)
        if request.method == "GET":
            answer.headers["refresh"] = f"{REFRESH_SECONDS}"
        return answer

    return single_page(renderer, page, RESTORING)
