"""What runs and Dagster's services write to the terminal: lines, and a stack trace only for unforeseen errors.

Dagster's own logger prints the stack trace of each failure twice, even that of an expected one, such as a service that
is down; the traces are on the pages of the runs. Its daemon prints one for each of its loops and attempts: a full disk
would fill the terminal as well.
"""

import logging
import re
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

import dagster as dg

from aperture_dagster.instance.failures import failure_reason, is_foreseen, is_interruption
from aperture_dagster.instance.private import console_logger_config, replace_console_logger
from aperture_dagster.model import printable
from aperture_dagster.model.errors import OperatorError

MOMENT = "%Y-%m-%d %H:%M:%S"
NO_CODE_SERVER = ("Could not reach user code server", "The code server is stopping")
"""Parts of what Dagster and :mod:`aperture_dagster.instance.launcher` say while a code server is being replaced."""
WAITING = "The code server does not answer; waiting for it. Runs stay in the queue meanwhile."


MORE = "\n  | "
"""Begins a further line of a message, so that none passes for a line of the log: a name may hold a line break."""


class PlainFormatter(logging.Formatter):
    """Formats as another formatter does, without what controls a terminal; further lines begin with :data:`MORE`."""

    def __init__(self, inner: logging.Formatter | None = None) -> None:
        super().__init__()
        self.inner = inner or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        return printable(self.inner.format(record)).replace("\n", MORE)


class RunFormatter(logging.Formatter):
    """Format what a run logs in a line; ``format`` returns an empty text for what is not worth a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a message of a step, or an event that reports a failure."""
        about = getattr(record, "dagster_meta", None) or {}
        event, step, job = about.get("dagster_event"), about.get("step_key"), about.get("job_name")
        run = f"(run {str(about.get('run_id'))[:8]})"
        if event is None:
            message = str(about.get("orig_message") or record.getMessage())
            # The failure that it follows from has a line of its own.
            is_consequence = record.levelno >= logging.ERROR and message.startswith("Dependencies for step")
            message = message.replace("\n", MORE)
            return "" if is_consequence else self._line(record, f"{step or job or record.name}: {message}")
        if event.is_step_failure:
            trace = "" if is_foreseen(event) else f"\n{event.step_failure_data.error_display_string.rstrip()}"
            return self._line(record, f"{step} failed: {failure_reason(event)} {run}{trace}")
        if event.is_run_failure:
            data = event.job_failure_data
            if data.first_step_failure_event is not None:
                return ""
            if data.error is not None and is_interruption(data.error):
                return self._line(record, f"{job} was stopped. {run}")
            trace = f"\n{data.error.to_string().rstrip()}" if data.error is not None else ""
            return self._line(record, f"{job} failed: {event.message} {run}{trace}")
        if record.levelno >= logging.ERROR and not event.is_failure:
            return self._line(record, f"{step or job}: {event.message}")
        return ""

    @staticmethod
    def _line(record: logging.LogRecord, text: str) -> str:
        level = f" {record.levelname}" if record.levelno >= logging.WARNING else ""
        return f"{datetime.fromtimestamp(record.created, UTC).astimezone():{MOMENT}}{level} {text}"


class TerminalHandler(logging.Handler):
    """Write to the standard error of the moment: Dagster redirects it while a step runs."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, unless it is not worth a line."""
        line = self.format(record)
        if line:
            print(printable(line), file=sys.stderr, flush=True)


@dg.logger(config_schema=console_logger_config())
def terminal_logger(context: dg.InitLoggerContext) -> logging.Logger:
    """Log to the terminal."""
    logger = logging.Logger(context.logger_config["name"], context.logger_config["log_level"])
    handler = TerminalHandler()
    handler.setFormatter(RunFormatter())
    logger.addHandler(handler)
    return logger


class ForeseenErrors(logging.Filter):
    """Shorten what Dagster logs about an error of ours to its sentence, and drop it while it repeats.

    The sentence says what is wrong and what to do, so the stack trace adds nothing. Figures, such as the names of the
    database's files, do not make it another one. A code server that is not there is a warning: it is being replaced, or
    its own log says why not.
    """

    REPEAT_SECONDS = 600.0
    SERIALIZED = re.compile(r"\baperture_dagster\.[\w.]+: (.+)")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._shown: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Replace the message of a record; False if the same was shown lately."""
        sentence = self._sentence(record)
        if sentence is None:
            return True
        kind, now = re.sub(r"[0-9]+(_\w+)?", "", sentence), self._clock()
        if now - self._shown.get(kind, -self.REPEAT_SECONDS) < self.REPEAT_SECONDS:
            return False
        self._shown[kind] = now
        if sentence == WAITING:
            record.levelno, record.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)
        record.msg, record.args = f"{sentence} (Shown once in ten minutes.)", ()
        record.exc_info = record.exc_text = None
        return True

    def _sentence(self, record: logging.LogRecord) -> str | None:
        error = record.exc_info[1] if record.exc_info else None
        message = record.getMessage()
        if any(part in f"{message} {error}" for part in NO_CODE_SERVER):
            return WAITING
        while error is not None and not isinstance(error, OperatorError):
            error = error.__cause__ or error.__context__
        if error is not None:
            return " ".join(str(error).split())
        # Dagster also logs errors as texts that it has made of them.
        match = self.SERIALIZED.search(message) if "Stack Trace:" in message else None
        return match[1].strip() if match else None


def log_runs_in_lines() -> None:
    """Make runs without a logger of their own, which are all but those of the demo, use :func:`terminal_logger`."""
    replace_console_logger(terminal_logger)


def log_foreseen_errors_once() -> None:
    """Attach :class:`ForeseenErrors` to what this process writes; Dagster's services have set up their logs before.

    Lines are made plain as well.
    """
    handlers = [handler for name in ("", "dagster") for handler in logging.getLogger(name).handlers]
    for handler in [*handlers, *filter(None, [logging.lastResort])]:
        if not isinstance(handler.formatter, PlainFormatter):
            handler.setFormatter(PlainFormatter(handler.formatter))
    shared = next(
        (
            log_filter
            for handler in handlers
            for log_filter in handler.filters
            if isinstance(log_filter, ForeseenErrors)
        ),
        None,
    )
    shared = shared or ForeseenErrors()
    for handler in handlers:
        if shared not in handler.filters:
            handler.addFilter(shared)
