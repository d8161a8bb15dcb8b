"""Responses that the stand-ins share."""

from __future__ import annotations

import json
from typing import Any

from starlette import responses
from starlette.responses import HTMLResponse, Response

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False)


class JSONResponse(responses.JSONResponse):
    """Compact JSON in UTF-8."""

    media_type = "application/json; charset=utf-8"

    def render(self, content: Any) -> bytes:
        """Encode the content."""
        return encode_json(content)


def encode_json(content: Any) -> bytes:
    """Encode as compact JSON in UTF-8. Raises UnicodeEncodeError for a lone surrogate."""
    return _ENCODER.encode(content).encode()


def raw_json(body: bytes) -> Response:
    """Return a body as JSON, whether or not it is valid."""
    return Response(body, media_type=JSONResponse.media_type)


def html_page(text: str, status: int) -> Response:
    """Return the kind of page that a proxy in front of a service serves in its place."""
    title = f"<head><title>{text}</title></head>"
    return HTMLResponse(f"<!DOCTYPE html><html>{title}<body><h1>{text}</h1></body></html>", status)
