"""Stand-ins for the lists of models of local model servers; their embeddings are those of the OpenAI stand-in.

Modelled are Ollama's ``/api/tags`` and ``/api/show`` as in its documentation, with models of its cloud beside local
ones, and versions whose list lacks the capabilities (ollama/ollama issue 14964); and LM Studio's ``/api/v1/models``,
which answers an unknown path with status 200 and an error.
"""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from aperture_dagster.simulator.catalogue import stable_number
from aperture_dagster.simulator.responses import JSONResponse
from aperture_dagster.simulator.service import Operation, Request, StandIn
from aperture_dagster.simulator.state import SimulatorState


class OllamaService(StandIn):
    """Ollama's models over a state's settings."""

    name = "ollama"

    def __init__(self, state: SimulatorState) -> None:
        super().__init__(
            state,
            [
                Operation("GET", "/api/tags", self._tags),
                Operation("POST", "/api/show", self._show),
                Operation("GET", "/v1/models", self._models),
            ],
        )
        self._settings = state.settings

    def error(self, status: int) -> Response:
        """Return an error of this status in Ollama's form."""
        return JSONResponse({"error": "internal server error"}, status)

    def _tags(self, request: Request) -> Response:
        return JSONResponse({"models": [self._entry(name) for name in self._settings.ollama_models]})

    def _entry(self, name: str) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "name": name,
            "model": name,
            "modified_at": "2026-10-03T23:34:03.409490317-07:00",
            "size": 274_302_450,
            "digest": f"{stable_number(name):064x}",
            "details": {"format": "gguf", "family": "any", "parameter_size": "137M", "quantization_level": "F16"},
        }
        if name.endswith("cloud"):
            entry |= {"remote_host": "https://ollama.com:443", "remote_model": name.removesuffix("-cloud"), "size": 384}
        if self._settings.ollama_lists_capabilities:
            entry["capabilities"] = list(self._settings.ollama_models[name])
        return entry

    def _show(self, request: Request) -> Response:
        body = request.parse_json()
        name = str(body.get("model")) if isinstance(body, dict) else ""
        if name not in self._settings.ollama_models:
            return JSONResponse({"error": f"model '{name}' not found"}, 404)
        return JSONResponse({"details": {}, "capabilities": list(self._settings.ollama_models[name])})

    def _models(self, request: Request) -> Response:
        models = [
            {"id": name, "object": "model", "created": 0, "owned_by": "library"}
            for name in self._settings.ollama_models
        ]
        return JSONResponse({"object": "list", "data": models})


class LmStudioService(StandIn):
    """LM Studio's models over a state's settings."""

    name = "lm_studio"

    def __init__(self, state: SimulatorState) -> None:
        operations = [Operation("GET", "/v1/models", self._models)]
        if state.settings.lm_studio_has_v1:
            operations.append(Operation("GET", "/api/v1/models", self._own_models))
        super().__init__(state, operations)
        self._settings = state.settings

    def error(self, status: int) -> Response:
        """Return an error of this status in LM Studio's form."""
        return JSONResponse({"error": "Internal error"}, status)

    def unknown(self, request: Request) -> Response:
        """Answer an unknown path."""
        return JSONResponse({"error": f"Unexpected endpoint or method. ({request.method} {request.path})"})

    def _own_models(self, request: Request) -> Response:
        models = [
            {"type": form, "key": key, "max_context_length": 2048, "loaded_instances": []}
            for key, form in self._settings.lm_studio_models.items()
        ]
        return JSONResponse({"models": models})

    def _models(self, request: Request) -> Response:
        models = [{"id": key, "object": "model", "owned_by": "organization_owner"} for key in self._models_by_key()]
        return JSONResponse({"object": "list", "data": models})

    def _models_by_key(self) -> list[str]:
        return list(self._settings.lm_studio_models)
