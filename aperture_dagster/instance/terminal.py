"""What runs write to the terminal: a line for each message of a step, and one line for what failed.

Dagster's own logger prints the stack trace of a failure twice, with that of every expected one, such as a service that
is down. The traces are on the pages of the runs.
"""

import logging
import sys
from datetime import UTC, datetime

import dagster as dg
import dagster._loggers as loggers

from aperture_dagster.defs.failures import failure_reason, is_foreseen, is_interruption

MOMENT = "%Y-%m-%d %H:%M:%S"


class RunFormatter(logging.Formatter):
    """Format what a run logs in a line; ``format`` returns an empty text for what need not be seen."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a message of a step, or an event that tells of a failure."""
        about = getattr(record, "dagster_meta", None) or {}
        event, step, job = about.get("dagster_event"), about.get("step_key"), about.get("job_name")
        run = f"(run {str(about.get('run_id'))[:8]})"
        if event is None:
            message = str(about.get("orig_message") or record.getMessage())
            # The failure that it follows from has a line of its own.
            is_consequence = record.levelno >= logging.ERROR and message.startswith("Dependencies for step")
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
        """Write a record, unless nobody needs to see it."""
        line = self.format(record)
        if line:
            print(line, file=sys.stderr, flush=True)


@dg.logger(config_schema=loggers.colored_console_logger.config_schema)
def terminal_logger(context: dg.InitLoggerContext) -> logging.Logger:
    """Log to the terminal."""
    logger = logging.Logger(context.logger_config["name"], context.logger_config["log_level"])
    handler = TerminalHandler()
    handler.setFormatter(RunFormatter())
    logger.addHandler(handler)
    return logger


def log_runs_in_lines() -> None:
    """Make runs without a logger of their own, which are all but those of the demo, use :func:`terminal_logger`.

    Dagster has no public way: a logger of the definitions is used only by runs whose configuration names it.
    """
    loggers.colored_console_logger = terminal_logger
