"""Stand-ins for the lists of models of local model servers; their embeddings are those of the OpenAI stand-in.

Modelled are Ollama's ``/api/tags`` as in its documentation, with models of its cloud beside local ones, and LM Studio,
which answers an unknown path with status 200 and an error.
"""

from __future__ import annotations

from starlette.responses import Response

from aperture_dagster.simulator.responses import JSONResponse
from aperture_dagster.simulator.service import Operation, Request, StandIn
from aperture_dagster.simulator.state import SimulatorState


class OllamaService(StandIn):
    """Ollama's models over a state's settings."""

    name = "ollama"

    def __init__(self, state: SimulatorState) -> None:
        super().__init__(state, [Operation("GET", "/api/tags", self._tags)])

    def error(self, status: int) -> Response:
        """Return an error of this status in Ollama's form."""
        return JSONResponse({"error": "internal server error"}, status)

    def _tags(self, request: Request) -> Response:
        models = []
        for name in self._state.settings.ollama_models:
            entry = {"name": name, "model": name, "size": 274_302_450}
            if name.endswith("cloud"):
                entry |= {"remote_host": "https://ollama.com:443", "remote_model": name.removesuffix("-cloud")}
            models.append(entry)
        return JSONResponse({"models": models})


class LmStudioService(StandIn):
    """LM Studio, which has downloaded two models."""

    name = "lm_studio"

    def __init__(self, state: SimulatorState) -> None:
        super().__init__(state, [Operation("GET", "/v1/models", self._models)])

    def error(self, status: int) -> Response:
        """Return an error of this status in LM Studio's form."""
        return JSONResponse({"error": "Internal error"}, status)

    def unknown(self, request: Request) -> Response:
        """Answer an unknown path."""
        return JSONResponse({"error": f"Unexpected endpoint or method. ({request.method} {request.path})"})

    def _models(self, request: Request) -> Response:
        names = ("text-embedding-nomic-embed-text-v1.5", "qwen/qwen3-4b")
        models = [{"id": name, "object": "model", "owned_by": "organization_owner"} for name in names]
        return JSONResponse({"object": "list", "data": models})
