"""The embeddings stand-in keeps to the contract of OpenAI-compatible endpoints."""

from __future__ import annotations

import math
from collections.abc import Iterator

import httpx
import pytest

from aperture_dagster.simulator.server import RunningSimulator

HEADERS = {"Authorization": "Bearer demo-openai-key"}


@pytest.fixture
def client(steady: RunningSimulator) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=steady.openai_url, headers=HEADERS) as client:
        yield client


def ask(client: httpx.Client, given: object, **more: object) -> httpx.Response:
    return client.post("/embeddings", json={"model": "demo-embedding", "input": given, **more})


def vectors(client: httpx.Client, *texts: str, **more: object) -> list[list[float]]:
    answer = ask(client, list(texts), **more)
    assert answer.status_code == 200, answer.text
    return [entry["embedding"] for entry in answer.json()["data"]]


def dot(left: list[float], right: list[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))


def test_vectors_have_unit_length_and_are_reproducible(client: httpx.Client) -> None:
    first = vectors(client, "a heist in the rain", "!?", "🎬")
    assert first == vectors(client, "a heist in the rain", "!?", "🎬")
    assert all(math.isclose(dot(vector, vector), 1.0, rel_tol=1e-9) for vector in first)


def test_texts_that_share_words_are_close(client: httpx.Client) -> None:
    heist, robbery, wedding = vectors(
        client, "a daring bank heist in Paris", "the bank heist of Paris", "two neighbours plan their summer wedding"
    )
    assert dot(heist, robbery) > 0.4 > dot(heist, wedding) + 0.2


@pytest.mark.parametrize(("model", "length"), [("demo-embedding", 256), ("text-embedding-3-small", 1536)])
def test_every_model_has_its_dimensions(client: httpx.Client, model: str, length: int) -> None:
    (vector,) = vectors(client, "words", model=model)
    assert len(vector) == length
    assert math.isclose(dot(vector, vector), 1.0, rel_tol=1e-9)


def test_without_a_configured_key_none_is_required(serve) -> None:
    answer = httpx.post(serve(openai_key="").openai_url + "/embeddings", json={"model": "demo-embedding", "input": "a"})
    assert answer.status_code == 200


def test_impossible_requests_are_refused_with_400(client: httpx.Client) -> None:
    inputs = ("", [], ["a", ""], None, {"a": 1}, ["a"] * 2049, "x" * 4 * 8193, ["x" * 4 * 8000] * 38)
    answers = [ask(client, given) for given in inputs]
    for answer in (*answers, client.post("/embeddings", content=b"{")):
        assert answer.status_code == 400, answer.request.content[:80]
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_a_single_text_can_have_the_whole_request_refused(serve) -> None:
    simulator = serve(embedding_refused_words=("forbidden",))
    with httpx.Client(base_url=simulator.openai_url, headers=HEADERS) as client:
        refused = ask(client, ["fine", "a forbidden word"])
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "content_filter")
        assert ask(client, ["fine"]).status_code == 200


def test_small_models_take_only_short_texts(client: httpx.Client) -> None:
    assert ask(client, "word " * 400, model="mxbai-embed-large").status_code == 200
    for text in ("word " * 420, "\u6620" * 600):
        refused = ask(client, text, model="mxbai-embed-large")
        assert refused.status_code == 400
        assert "exceeds the context length" in refused.json()["error"]["message"]
