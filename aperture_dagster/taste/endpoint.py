"""An embedder at any endpoint that speaks OpenAI's protocol: OpenAI, Ollama, LM Studio."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from aperture_dagster.http import errors
from aperture_dagster.http.client import ServiceClient
from aperture_dagster.http.messages import Answer, as_object, expect, one_line
from aperture_dagster.http.redaction import redact

if TYPE_CHECKING:
    import numpy as np
from aperture_dagster.taste.embedder import Embedder, Embedding, unit_length

ENDPOINT = "The embeddings endpoint"
# Tokens of a text at most; titles have about 120. A text that a model refuses as too long is halved.
MOST_TOKENS = 1000
# Texts in a request: an answer with as many vectors of 3,000 dimensions has some 4 MB.
BATCH = 64
SHORTEST_TEXT = 100
# After so many texts refused one by one and none accepted, the texts are not the reason.
REFUSALS_THAT_MEAN_ALL = 8
_TOO_LONG = re.compile(r"context length|maximum context|input length|too long|too many tokens", re.IGNORECASE)


class OpenAiEmbedder(Embedder):
    """Any OpenAI-compatible endpoint: OpenAI, Ollama, LM Studio. ``options`` are those of the transport.

    The name of its vectors holds no address: another address returns the same vectors.
    """

    def __init__(self, url: str, api_key: str | None, *, model: str, **options: Any) -> None:
        super().__init__(f"openai-{model}")
        inspect = partial(inspect_credit, api_key or "")
        self.client = endpoint_client(url, api_key, inspect=inspect, timeout_seconds=120, **options)
        self._model = model

    @property
    def requests(self) -> int:
        """Requests sent so far."""
        return self.client.requests

    def embed(self, texts: Sequence[str]) -> Embedding:
        """Embed texts, ``BATCH`` in a request. A refused batch is halved until the offending texts are isolated.

        Raises:
            BadAnswer: a vector is missing or of another length than the rest.
            RequestRejected: every text is refused.
            ServiceUnavailable, ServiceRefused, NotFound: see :class:`Transport`.
        """
        import numpy as np

        found: dict[int, np.ndarray] = {}
        refused: dict[int, str] = {}
        cut = [truncate(text) for text in texts]
        batches = deque(range(start, min(start + BATCH, len(cut))) for start in range(0, len(cut), BATCH))
        while batches:
            places = batches.popleft()
            try:
                found.update(zip(places, self._vectors([cut[place] for place in places]), strict=True))
            except errors.Redirected:
                raise
            except errors.RequestRejected as error:
                middle = len(places) // 2
                if middle:
                    batches.extendleft((places[middle:], places[:middle]))
                elif _TOO_LONG.search(str(error)) and len(cut[places[0]]) > SHORTEST_TEXT:
                    cut[places[0]] = cut[places[0]][: len(cut[places[0]]) // 2]
                    batches.appendleft(places)
                else:
                    refused[places[0]] = str(error)
                    if not found and len(refused) >= REFUSALS_THAT_MEAN_ALL:
                        raise
        vectors = np.zeros((len(cut), self.dimensions), dtype=np.float32)
        for place, vector in found.items():
            vectors[place] = vector
        return Embedding(unit_length(vectors), refused)

    def _vectors(self, texts: Sequence[str]) -> np.ndarray:
        import numpy as np

        # Servers refuse an empty text; not all of them support base64, which some clients request.
        body = {"model": self._model, "input": [text or " " for text in texts], "encoding_format": "float"}
        try:
            answer = self.client.transport.post_json("/embeddings", body, repeatable=True)
        except errors.NotFound as error:
            raise errors.NotFound(
                f"{error}. Check APERTURE_EMBEDDER_URL, which mostly ends in /v1, and APERTURE_EMBEDDER_MODEL."
            ) from None
        data = expect(expect(answer, dict, f"{ENDPOINT}'s answer").get("data"), list, f"{ENDPOINT}'s answer: data")
        if len(data) != len(texts):
            raise errors.BadAnswer(f"{ENDPOINT} returned {len(data)} vectors for {len(texts)} texts.")
        try:
            rows = {entry["index"]: entry["embedding"] for entry in data}
            # In the order of the texts, whatever the order of the answer.
            vectors = np.asarray([rows[place] for place in range(len(texts))], dtype=np.float32)
        except (KeyError, TypeError, ValueError):
            raise errors.BadAnswer(f"{ENDPOINT}'s vectors cannot be parsed.") from None
        if vectors.ndim != 2 or not vectors.shape[1] or not np.isfinite(vectors).all():
            raise errors.BadAnswer(f"{ENDPOINT}'s vectors differ in length or are not numbers.")
        if self._dimensions is not None and vectors.shape[1] != self._dimensions:
            raise errors.BadAnswer(f"{ENDPOINT} changed its vectors' length to {vectors.shape[1]}.")
        self._dimensions = vectors.shape[1]
        return vectors


def endpoint_client(url: str, api_key: str | None, **options: Any) -> ServiceClient:
    """Return a client of an endpoint with its key."""
    return ServiceClient(
        ENDPOINT,
        url,
        headers={"Authorization": f"Bearer {api_key}"} if api_key else None,
        secrets=[api_key or ""],
        setting="OPENAI_API_KEY",
        address_setting="APERTURE_EMBEDDER_URL",
        **options,
    )


def truncate(text: str, tokens: int = MOST_TOKENS) -> str:
    """Truncate a text to at most so many tokens, by a safe estimate; endpoints refuse longer texts.

    English has four to five characters a token, other scripts up to two tokens a character.
    """
    if len(text) * 2 <= tokens:
        return text
    used = 0.0
    for place, character in enumerate(text):
        used += 1 / 3 if character.isascii() else 2
        if used > tokens:
            return text[:place]
    return text


def inspect_credit(api_key: str, answer: Answer) -> None:
    """Raise if an account has no credit, which 429 may also mean, and where no retry helps; see :class:`Transport`."""
    if answer.status not in (402, 429):
        return
    error = as_object(answer.fields().get("error"))
    if answer.status == 402 or "insufficient_quota" in (error.get("code"), error.get("type")):
        message = redact(one_line(error.get("message")) or "", [api_key])[:160]
        quoted = f" ({message})" if message else ""
        raise errors.ServiceRefused(
            f"{ENDPOINT}: the account has no credit left{quoted}. Add credit there, or choose a local model with "
            "APERTURE_EMBEDDER. What was embedded is kept."
        )
