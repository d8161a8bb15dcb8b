"""How a step fails: with a sentence for the operator, and again later where that can help.

Dagster stores the stack of every error, most of it its own. Without those of foreseen errors, pages of runs show the
sentence alone.
"""

import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg

from aperture_dagster.catalogue.removals import RemovalRefused
from aperture_dagster.http.errors import (
    NotFound,
    RequestRejected,
    ServiceError,
    ServiceNotConfigured,
    ServicePaused,
    ServiceRefused,
    ServiceUnavailable,
)
from aperture_dagster.http.redaction import redact
from aperture_dagster.instance.markdown import code_block
from aperture_dagster.model import sentence
from aperture_dagster.model.errors import MissingPrerequisite, OperatorError
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.errors import DatabaseInterrupted
from aperture_dagster.progress import StepKeeper, kept_progress
from aperture_dagster.settings import Settings

LONGEST_REASON = 280
# Metadata of a failure: the class of its cause, by which alerts recognise that it is the same as the last time.
CAUSE = "cause"
# What Dagster raises in a step whose process is asked to stop.
INTERRUPTED = "DagsterExecutionInterruptedError"
STOPPED = (
    "It was stopped, because `aperture up` was, or because somebody ended the run. What was there is kept; the next "
    "run goes on from here, or start it again in the UI."
)


# No retry helps against these: a person must change something first.
PERMANENT = (
    ServiceRefused, ServiceNotConfigured, NotFound, RequestRejected, RemovalRefused, OperatorError,
    MissingPrerequisite,
)  # fmt: skip
EXPECTED = (ServiceError, *PERMANENT, ValueError)


@contextmanager
def operator_errors(context: dg.OpExecutionContext | dg.AssetExecutionContext, settings: Settings) -> Iterator[None]:
    """Turn an error into what Dagster does about it: retry the step later, or fail it with one sentence.

    An error that nobody foresaw keeps its stack trace, without any secret that a library may have put into it. What
    the step counts meanwhile is kept as its progress.
    """
    keeper = StepKeeper(Database(settings), context.run.run_id, step_name(context), context.run.job_name)
    try:
        with kept_progress(keeper):
            yield
    except dg.Failure:
        raise
    except (ServiceError, *PERMANENT) as error:
        kept = " What was there is kept."
        if isinstance(error, PERMANENT) and not isinstance(error, DatabaseInterrupted):
            kept = ""
        elif isinstance(error, ServicePaused):
            kept = " What was there is kept; the next run after the pause goes on from here."
        elif isinstance(error, (ServiceUnavailable, DatabaseInterrupted)):
            if context.retry_number < settings.step_retries:
                context.log.warning(f"{sentence(error)} Retrying the step in {settings.step_retry_wait_seconds:g} s.")
                raise dg.RetryRequested(settings.step_retries, settings.step_retry_wait_seconds) from error
            kept = " What was there is kept; the next run goes on from here."
        raise dg.Failure(
            description=f"{sentence(error)}{kept}", metadata=cause_of([error]), allow_retries=False
        ) from None
    except Exception as error:
        trace = stack_trace(error, settings)
        if trace == "".join(traceback.format_exception(error)):
            raise
        raise dg.Failure(
            description=describe(error, settings),
            metadata={"stack_trace": code_block(trace), **cause_of([error])},
            allow_retries=False,
        ) from None


def step_name(context: dg.OpExecutionContext | dg.AssetExecutionContext) -> str:
    """Return the name under which the progress of a step is kept."""
    return context.op_execution_context.op.name


def cause_of(errors: Iterable[Exception]) -> dict[str, str]:
    """Return the metadata of a failure that names the classes of its causes."""
    return {CAUSE: ", ".join(sorted({type(error).__name__ for error in errors}))}


def failure_cause(event: dg.DagsterEvent) -> str:
    """Return the class of the cause of a failed step."""
    described = event.step_failure_data.user_failure_data
    stated = described.metadata.get(CAUSE) if described else None
    error = _telling_error(event)
    return str(getattr(stated, "value", None) or (error.cls_name if error else None) or "unknown")


def failure_reason(event: dg.DagsterEvent) -> str:
    """Say in one line why a step failed: the sentence for the operator, or else the unexpected error."""
    described, error = event.step_failure_data.user_failure_data, _telling_error(event)
    if is_interruption(error) and not (described and described.description):
        return STOPPED
    reason = (described.description if described else None) or (_sentence_of(error) if error else "unknown")
    return " ".join(str(reason).split())


def is_foreseen(event: dg.DagsterEvent) -> bool:
    """Tell whether a step failed in a way that its sentence explains, so that nobody needs a stack trace."""
    described, error = event.step_failure_data.user_failure_data, _telling_error(event)
    return bool(described and described.description) or is_interruption(error) or _is_ours(error)


def is_interruption(error: Any) -> bool:
    """Tell whether an error of Dagster says that the process was asked to stop."""
    return error is not None and error.cls_name == INTERRUPTED


def _telling_error(event: dg.DagsterEvent) -> Any:
    """Return the error of a failed step that says why, whose type Dagster does not export.

    It is one of ours, or else the innermost: outer ones name only the step.
    """
    error = event.step_failure_data.error
    while error is not None and error.cause is not None and not _is_ours(error):
        error = error.cause
    return error


def _is_ours(error: Any) -> bool:
    """Tell whether an error of Dagster's is one of ours that has a sentence for the operator."""
    if error is None:
        return False
    name, kinds = error.message.partition(": ")[0], {ServiceError, *PERMANENT}
    while kinds and not any(name == f"{kind.__module__}.{kind.__qualname__}" for kind in kinds):
        kinds = {subclass for kind in kinds for subclass in kind.__subclasses__()}
    return bool(kinds)


def _sentence_of(error: Any) -> str:
    """Return the message of an error of Dagster's, without the class in front of it if it is one of ours."""
    return error.message.partition(": ")[2].strip() if _is_ours(error) else error.message


def without_stack(event: dg.DagsterEvent) -> dg.DagsterEvent:
    """Return an event with a foreseen error as its sentence alone; other events are returned as they are."""
    data: Any = event.event_specific_data
    if event.is_step_failure and is_foreseen(event):
        # Dagster takes it for granted that an error of user code has a cause.
        return _with(event, error=_as_sentence(_telling_error(event), failure_reason(event)), error_source=None)
    if event.event_type is dg.DagsterEventType.STEP_UP_FOR_RETRY and _is_ours(data.error.cause):
        return _with(event, error=_as_sentence(data.error.cause, _sentence_of(data.error.cause)))
    if event.event_type in (dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.RUN_CANCELED):
        failed_step = getattr(data, "first_step_failure_event", None)
        if failed_step is not None and is_foreseen(failed_step):
            step = without_stack(failed_step)
            return _with(event, first_step_failure_event=step, error=step.step_failure_data.error)
        if is_interruption(getattr(data, "error", None)):
            return _with(event, error=_as_sentence(data.error, STOPPED))
    return event


def _with(event: dg.DagsterEvent, **changes: Any) -> dg.DagsterEvent:
    data: Any = event.event_specific_data
    return event._replace(event_specific_data=data._replace(**changes))


def _as_sentence(error: Any, sentence: str) -> Any:
    return error and error._replace(message=sentence, stack=[], cause=None, context=None)


def describe(error: Exception, settings: Settings) -> str:
    """Describe any error in a sentence without secrets; one that nobody foresaw is named by its type, too."""
    name = "" if isinstance(error, EXPECTED) else f"{type(error).__name__}: "
    return redact(sentence(f"{name}{error}"), settings.secret_values())


def stack_trace(error: Exception, settings: Settings) -> str:
    """Format the stack trace of an error, without secrets."""
    return redact("".join(traceback.format_exception(error)), settings.secret_values())
