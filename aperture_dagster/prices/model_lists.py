"""Which models an OpenAI-compatible endpoint offers; of Ollama's, also which of them run elsewhere."""

from __future__ import annotations

from typing import Any

from aperture_dagster.http.client import ServiceClient
from aperture_dagster.http.errors import BadAnswer, NotFound, RequestRejected
from aperture_dagster.http.json_text import as_object, objects, one_line
from aperture_dagster.prices.rules import OfferedModel

LABEL = "The embeddings endpoint"


class ModelListClient(ServiceClient):
    """The endpoint at ``url``; ``options`` are those of the transport."""

    def __init__(self, url: str, api_key: str | None, *, at_home: bool, **options: Any) -> None:
        # Ollama serves OpenAI's protocol below /v1, beside its own.
        self._base = url.removesuffix("/v1")
        super().__init__(
            LABEL,
            self._base,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else None,
            secrets=[api_key or ""],
            setting="OPENAI_API_KEY",
            address_setting="APERTURE_EMBEDDER_URL",
            **options,
        )
        self._openai_path = url.removeprefix(self._base) + "/models"
        self._at_home = at_home

    def list_models(self) -> list[OfferedModel]:
        """Return the models that the endpoint lists now.

        Raises:
            BadAnswer: no answer is a list of models.
            ServiceError: see :meth:`Transport.send`.
        """
        if self._at_home:
            try:
                return self._read("/api/tags", "models", "model")
            except (NotFound, RequestRejected, BadAnswer):
                # It is not Ollama.
                pass
        return self._read(self._openai_path, "data", "id")

    def _read(self, path: str, field: str, name: str) -> list[OfferedModel]:
        answer = as_object(self.transport.get_json(path))
        # LM Studio answers an unknown path with status 200 and an error.
        if not isinstance(answer.get(field), list):
            raise BadAnswer(f"{LABEL} at {self._base}: {path} is not a list of models")
        return [
            OfferedModel(model, is_remote=bool(entry.get("remote_host") or entry.get("remote_model")))
            for entry in objects(answer[field])
            if (model := one_line(entry.get(name)) or one_line(entry.get("name")))
        ]
