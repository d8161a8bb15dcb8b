"""The models that the configured endpoint offers."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing, suppress
from urllib.parse import urlsplit

from aperture_dagster.http.errors import BadAnswer, NotFound, RequestRejected
from aperture_dagster.http.home_network import is_private
from aperture_dagster.http.messages import as_object, objects, one_line
from aperture_dagster.prices.price_list import (
    LISTS_SAY_NOTHING,
    OfferedModel,
    is_same_model,
    provider_of_host,
)
from aperture_dagster.settings import Settings
from aperture_dagster.taste.configured_embedder import Embedders
from aperture_dagster.taste.endpoint import ENDPOINT


def list_models(settings: Settings, embedder: Embedders) -> list[OfferedModel]:
    """Return the models that the configured endpoint, which speaks OpenAI's protocol, lists now.

    Raises:
        BadAnswer: no answer is a list of models.
        ServiceError: see :meth:`Transport.send`.
    """
    url = settings.embedder_url
    # Ollama serves OpenAI's protocol below /v1, beside its own.
    base = url.removesuffix("/v1")
    client = embedder.connect(base)

    def read(path: str, field: str, name: str) -> list[OfferedModel]:
        answer = as_object(client.transport.get_json(path))
        # LM Studio answers an unknown path with status 200 and an error.
        if not isinstance(answer.get(field), list):
            raise BadAnswer(f"{ENDPOINT} at {base}: {path} is not a list of models")
        return [
            OfferedModel(model, is_remote=bool(entry.get("remote_host") or entry.get("remote_model")))
            for entry in objects(answer[field])
            if (model := one_line(entry.get(name)) or one_line(entry.get("name")))
        ]

    with closing(client):
        if is_at_home(settings):
            # Unless it is not Ollama.
            with suppress(NotFound, RequestRejected, BadAnswer):
                return read("/api/tags", "models", "model")
        return read(f"{url.removeprefix(base)}/models", "data", "id")


DEFAULT_MODEL = "text-embedding-3-small"


def why_not_offered(settings: Settings, offered: Iterable[OfferedModel]) -> str | None:
    """Say that the endpoint lists its models, and the configured one is not among them; None otherwise."""
    model, names = settings.embedder_model or DEFAULT_MODEL, [one.model for one in offered]
    if settings.embedder != "openai" or not names or configured_provider(settings) in LISTS_SAY_NOTHING:
        return None
    if any(is_same_model(model, name) for name in names):
        return None
    return (
        f"{model} is not among the {len(names)} models that {settings.embedder_url} offers. If it was withdrawn, "
        "choose another in APERTURE_EMBEDDER_MODEL."
    )


def configured_provider(settings: Settings) -> str | None:
    """Return the provider behind the configured endpoint; None if its host is not known."""
    return provider_of_host(urlsplit(settings.embedder_url).hostname or "", at_home=is_at_home(settings))


def is_at_home(settings: Settings) -> bool:
    """Return whether the configured endpoint is at home, such as Ollama on this machine."""
    # Without a resolver: the answer must not depend on the network.
    return is_private(urlsplit(settings.embedder_url).hostname or "", resolve=False)
