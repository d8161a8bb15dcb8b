"""A prototype of what households could share: answers about titles, and vectors of texts, in one database.

Nothing in it says who asked: an answer is found by the service and the request without its key, a vector by the model
and the hash of the text. It is used by ``benchmarks/households.py`` only; docs/scaling.md says why it is no part of the
product.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import psycopg

from aperture_dagster.resources.embedder import Embedder, Embedding, make_embedder
from aperture_dagster.resources.transport import Transport
from aperture_dagster.settings import Settings

SHARED_SERVICES = {"TMDb", "OMDb"}
TABLES = """
    CREATE TABLE IF NOT EXISTS answers (service text, request text, answer bytea NOT NULL,
        fetched_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (service, request));
    CREATE TABLE IF NOT EXISTS vectors (model text, text_hash bytea, vector bytea NOT NULL,
        PRIMARY KEY (model, text_hash))"""


class SharedFacts:
    """Answers and vectors in a database that all households may read and add to."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._local = threading.local()
        self.found = {"answers": 0, "vectors": 0}
        self._execute(TABLES)

    def answer(self, service: str, path: str, params: Mapping[str, Any]) -> Any:
        """Return the answer to a request, or None if nobody has stored it."""
        row = self._execute(
            "SELECT answer FROM answers WHERE service = %s AND request = %s", service, _request(path, params)
        ).fetchone()
        if row is None:
            return None
        self.found["answers"] += 1
        return json.loads(zlib.decompress(row[0]))

    def keep_answer(self, service: str, path: str, params: Mapping[str, Any], answer: Any) -> None:
        """Store the answer to a request."""
        packed = zlib.compress(json.dumps(answer).encode(), 1)
        self._execute(
            "INSERT INTO answers VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", service, _request(path, params), packed
        )

    def vectors(self, model: str, texts: Sequence[str]) -> dict[int, np.ndarray]:
        """Return the vectors that are known, by the places of their texts."""
        places = {hashlib.sha256(text.encode()).digest(): place for place, text in enumerate(texts)}
        rows = self._execute(
            "SELECT text_hash, vector FROM vectors WHERE model = %s AND text_hash = ANY(%s)", model, list(places)
        ).fetchall()
        self.found["vectors"] += len(rows)
        return {places[bytes(one)]: np.frombuffer(vector, dtype=np.float16) for one, vector in rows}

    def keep_vectors(self, model: str, texts: Sequence[str], vectors: np.ndarray) -> None:
        """Store vectors of texts."""
        rows = [
            (model, hashlib.sha256(text.encode()).digest(), vector.astype(np.float16).tobytes())
            for text, vector in zip(texts, vectors, strict=True)
        ]
        with self._connection().cursor() as cursor:
            cursor.executemany("INSERT INTO vectors VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", rows)

    def _execute(self, statement: str, *values: Any) -> Any:
        return self._connection().execute(statement.encode(), values or None)

    def _connection(self) -> psycopg.Connection[Any]:
        # A connection for each thread of a client.
        if not hasattr(self._local, "connection"):
            self._local.connection = psycopg.connect(self._url, autocommit=True)
        return self._local.connection


def _request(path: str, params: Mapping[str, Any]) -> str:
    return f"{path}?{json.dumps(dict(params), sort_keys=True)}"


@contextlib.contextmanager
def shared_answers(facts: SharedFacts) -> Iterator[None]:
    """Let all transports of this process ask the shared facts before a service."""
    get_json = Transport.get_json

    def ask_first(self: Transport, path: str, params: Mapping[str, Any] | None = None, *, lenient: bool = False) -> Any:
        if self.service not in SHARED_SERVICES:
            return get_json(self, path, params, lenient=lenient)
        # The key is among the headers, or the parameters of the transport, and not here.
        known = facts.answer(self.service, path, params or {})
        if known is None:
            known = get_json(self, path, params, lenient=lenient)
            facts.keep_answer(self.service, path, params or {}, known)
        return known

    Transport.get_json = ask_first
    try:
        yield
    finally:
        Transport.get_json = get_json


class SharedEmbedder(Embedder):
    """An embedder that embeds only texts of which the shared facts have no vector."""

    def __init__(self, settings: Settings, facts: SharedFacts) -> None:
        self._inner, self._facts = make_embedder(settings), facts

    @property
    def name(self) -> str:
        """Name of the model."""
        return self._inner.name

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        return self._inner.dimensions

    def embed(self, texts: Sequence[str]) -> Embedding:
        """Return a vector for each text."""
        known = self._facts.vectors(self.name, texts)
        missing = [place for place in range(len(texts)) if place not in known]
        made = self._inner.embed([texts[place] for place in missing]) if missing else None
        vectors = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for place, vector in known.items():
            vectors[place] = vector
        refused = {}
        if made is not None:
            vectors[missing] = made.vectors
            refused = {missing[place]: why for place, why in made.refused.items()}
            kept = [place for place in missing if place not in refused]
            self._facts.keep_vectors(self.name, [texts[place] for place in kept], vectors[kept])
        return Embedding(vectors, refused=refused)

    def _vectors(self, texts: Sequence[str]) -> np.ndarray:
        return self._inner.embed(texts).vectors
