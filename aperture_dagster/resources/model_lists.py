"""Which models an OpenAI-compatible endpoint offers: OpenAI's list, or the richer ones of Ollama and LM Studio."""

from __future__ import annotations

from typing import Any

from aperture_dagster.library.prices import MOST_TOKENS, OfferedModel
from aperture_dagster.resources.client import ServiceClient
from aperture_dagster.resources.errors import BadAnswer, NotFound, RequestRejected
from aperture_dagster.resources.json_text import as_object, objects, one_line

LABEL = "The embeddings endpoint"
# Older versions of Ollama tell the capabilities of one model at a time.
MOST_SHOWN = 100


class ModelListClient(ServiceClient):
    """The endpoint at ``url``; ``options`` are those of the transport."""

    def __init__(self, url: str, api_key: str | None, *, at_home: bool, **options: Any) -> None:
        # Ollama and LM Studio serve OpenAI's protocol below /v1, beside their own.
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
        # Only servers at home have lists of their own.
        for read in (self._ollama, self._lm_studio) if self._at_home else ():
            try:
                return read()
            except (NotFound, RequestRejected, BadAnswer):
                continue
        return self._openai()

    def _openai(self) -> list[OfferedModel]:
        entries = self._entries(self._openai_path, "data")
        return [OfferedModel(name) for entry in entries if (name := one_line(entry.get("id")))]

    def _ollama(self) -> list[OfferedModel]:
        entries = self._entries("/api/tags", "models")
        found = []
        for place, entry in enumerate(entries):
            name = one_line(entry.get("model")) or one_line(entry.get("name"))
            if name is None:
                continue
            capabilities = entry.get("capabilities")
            if capabilities is None and place < MOST_SHOWN:
                capabilities = self._capabilities(name)
            is_remote = bool(entry.get("remote_host") or entry.get("remote_model"))
            is_embedding = "embedding" in capabilities if isinstance(capabilities, list) else None
            found.append(OfferedModel(name, is_embedding, is_remote))
        return found

    def _capabilities(self, model: str) -> Any:
        try:
            return as_object(self.transport.post_json("/api/show", {"model": model}, repeatable=True)).get(
                "capabilities"
            )
        except (NotFound, RequestRejected, BadAnswer):
            return None

    def _lm_studio(self) -> list[OfferedModel]:
        found = []
        for entry in self._entries("/api/v1/models", "models"):
            name, form, context = one_line(entry.get("key")), entry.get("type"), entry.get("max_context_length")
            if name is not None:
                is_embedding = form == "embedding" if isinstance(form, str) else None
                is_size = isinstance(context, int) and 0 < context <= MOST_TOKENS
                found.append(OfferedModel(name, is_embedding, False, context if is_size else None))
        return found

    def _entries(self, path: str, name: str) -> list[dict[str, Any]]:
        answer = as_object(self.transport.get_json(path))
        # LM Studio answers an unknown path with status 200 and an error.
        if not isinstance(answer.get(name), list):
            raise BadAnswer(f"{LABEL} at {self._base}: {path} is not a list of models")
        return objects(answer[name])
