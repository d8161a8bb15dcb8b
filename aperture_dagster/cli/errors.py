"""Errors of services and of the operating system as one sentence."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from aperture_dagster.http.errors import ServiceError
from aperture_dagster.model.errors import OperatorError


@contextlib.contextmanager
def operator_errors() -> Iterator[None]:
    """Turn an error of a service or the operating system into one sentence without a stack trace, as our own are."""
    try:
        yield
    except ServiceError as error:
        raise OperatorError(str(error)) from None
    except OSError as error:
        raise OperatorError(f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")) from None
