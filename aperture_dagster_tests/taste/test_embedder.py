"""Embedders: local models and endpoints."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import numpy as np
import pytest

from aperture_dagster.http.errors import BadAnswer, RequestRejected, ServiceNotConfigured, ServiceRefused
from aperture_dagster.settings import load_settings
from aperture_dagster.simulator.server import RunningSimulator, running_simulator
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.world import World
from aperture_dagster.simulator.worlds import LONG_NAME, ODD_TITLES
from aperture_dagster.taste import endpoint as embedder
from aperture_dagster.taste.configured_embedder import make_embedder
from aperture_dagster.taste.embedder import StaticEmbedder
from aperture_dagster.taste.endpoint import OpenAiEmbedder, truncate
from aperture_dagster.taste.static_vectors import StaticVectors
from aperture_dagster_tests.http.troubles import with_key
from aperture_dagster_tests.services import Answer, Asked, Scripted


@contextmanager
def endpoint(url: str, key: str | None = "demo-openai-key", **how: Any) -> Iterator[OpenAiEmbedder]:
    options: dict[str, Any] = {"model": "demo-embedding", "attempts": 2, "first_wait_seconds": 0.01}
    remote = OpenAiEmbedder(url, key, **options | how)
    with closing(remote.client):
        yield remote


def vectors_of(count: int, dimensions: int = 3) -> dict[str, Any]:
    rows = np.eye(max(count, dimensions))[:count, :dimensions] + 0.5
    return {"data": [{"index": n, "embedding": row.tolist()} for n, row in enumerate(rows)]}


# The built-in model


@pytest.fixture(scope="module")
def static() -> StaticEmbedder:
    return StaticEmbedder()


def test_the_built_in_embedder_needs_no_network(monkeypatch: pytest.MonkeyPatch):
    def no_network(*_: Any) -> None:
        raise AssertionError("the local model must not reach for the network")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    vectors = StaticEmbedder().embed(["a heist in the rain"]).vectors
    assert vectors.shape == (1, 320)


def test_the_vectors_of_the_built_in_embedder_never_change_under_the_same_name(static: StaticEmbedder):
    """Stored vectors would be compared with others: whoever changes the values changes the name."""
    vectors = static.embed(["Toy Story 2", "Schwarzenegger returns", "Amélie 星际 🚀"]).vectors.astype(np.float64)
    assert static.name == "static-minilm-1-320"
    expected = [
        [-0.04316600039601326, -0.050039999186992645, 0.05220299959182739, 0.06818599998950958],
        [0.024664999917149544, 0.012168999761343002, 0.0695130005478859, -0.07840000092983246],
        [0.056046001613140106, 0.11539299786090851, 0.033225998282432556, -0.04141100123524666],
    ]
    assert np.allclose(vectors[:, :4], expected, atol=1e-5)


def test_vectors_have_length_one_and_are_reproducible(static: StaticEmbedder):
    texts = [*(title for title in ODD_TITLES if title.strip()), LONG_NAME * 20, "x"]
    vectors = static.embed(texts).vectors
    assert vectors.shape == (len(texts), static.dimensions)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    # In whatever company and order a text is, its vector is the same to the last bit.
    alone = [static.embed([text]).vectors[0] for text in reversed(texts)]
    assert np.array_equal(vectors, np.array(alone[::-1]))
    many = static.embed([*(f"Film {number} of many" for number in range(300)), *texts]).vectors
    assert np.array_equal(vectors, many[300:])


def test_case_and_accents_make_no_difference(static: StaticEmbedder):
    one, two = static.embed(["Le Fabuleux Destin d'Amélie Poulain", "LE FABULEUX DESTIN D'AMELIE POULAIN"]).vectors
    assert np.array_equal(one, two)


@pytest.mark.parametrize(
    ("one", "similar", "other"),
    [
        ("星际穿越", "星际迷航", "霸王别姬"),
        ("🚀🌕", "🌕 🚀 👽", "🐟🎣"),
        ("Gxzqwvertzuiop", "gxzqwvertzuiop!", "Hxzqwvertzuiop"),
        ("Эксперименты 👾", "эксперименты", "Сталкер"),
    ],
)
def test_texts_in_any_script_have_vectors_that_tell_them_apart(static: StaticEmbedder, one, similar, other):
    first, near, far = static.embed([one, similar, other]).vectors
    assert np.linalg.norm(first) == pytest.approx(1, abs=1e-3)
    assert first @ near > 0.3 and first @ near > first @ far + 0.2


@pytest.mark.parametrize("text", ["x" * 100_000, "word " * 20_000, "星" * 33_000, "\ud800 \x00"])
def test_long_and_broken_texts_are_embedded(static: StaticEmbedder, text: str):
    assert np.linalg.norm(static.embed([text]).vectors[0]) == pytest.approx(1, abs=1e-3)


def test_words_are_split_into_the_longest_pieces_from_the_start():
    model = StaticVectors()
    whole, pieces = model.embed(["unaffable", "dogs"]), model._pieces
    assert whole.shape == (2, 320)
    assert len(pieces("dogs")) == 1 < len(pieces("unaffable"))
    assert pieces("x" * 101) == () == pieces("☃"), "too long, and in no vocabulary"


def test_empty_texts_have_zero_vectors_and_no_texts_none(static: StaticEmbedder):
    assert not static.embed(["", " \n"]).vectors.any()
    assert static.embed([]).vectors.shape == (0, 320)


# OpenAI-compatible


def test_an_openai_compatible_endpoint_is_supported(steady: RunningSimulator):
    with endpoint(steady.openai_url) as remote:
        assert remote.dimensions == 256
        assert remote.name == "openai-demo-embedding-256"
        vectors = remote.embed([*ODD_TITLES, ""]).vectors
    assert vectors.shape == (len(ODD_TITLES) + 1, 256)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_texts_are_sent_in_batches_and_come_back_in_order(steady: RunningSimulator, monkeypatch: pytest.MonkeyPatch):
    texts = [f"film number {n} about {word}" for n, word in enumerate(["rain", "sun", "sea", "war", "love"] * 5)]
    with endpoint(steady.openai_url) as small, endpoint(steady.openai_url) as large:
        at_once = large.embed(texts).vectors
        monkeypatch.setattr(embedder, "BATCH", 7)
        in_parts = small.embed(texts).vectors
        assert small.requests == 4
        assert large.requests == 1
    assert np.allclose(in_parts, at_once)


def test_vectors_are_returned_in_the_order_of_the_texts(scripted: Scripted):
    answer = vectors_of(3)
    answer["data"].reverse()
    scripted.say(Answer(vectors_of(3)), Answer(answer))
    with endpoint(scripted.url) as remote:
        assert np.array_equal(remote.embed(["a", "b", "c"]).vectors, remote.embed(["a", "b", "c"]).vectors)


@pytest.mark.parametrize(
    "answer",
    [
        vectors_of(2), {"data": {}}, {"data": [{"embedding": [1.0]}] * 3}, {"data": [None] * 3},
        {"data": [{"index": n // 2, "embedding": [1.0]} for n in range(3)]},
        {"data": [{"index": n, "embedding": [1.0] * (n + 1)} for n in range(3)]},
        {"data": [{"index": n, "embedding": [None, 1.0]} for n in range(3)]},
    ],
    ids=range(7),
)  # fmt: skip
def test_vectors_that_cannot_be_matched_to_their_texts_are_rejected(scripted: Scripted, answer: Any):
    scripted.say(Answer(answer))
    with endpoint(scripted.url) as remote, pytest.raises(BadAnswer, match="endpoint"):
        remote.embed(["a", "b", "c"])


def test_an_endpoint_that_changes_its_dimensions_is_rejected(scripted: Scripted, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(embedder, "BATCH", 1)
    scripted.say(Answer(vectors_of(1, 3)), Answer(vectors_of(1, 4)))
    with endpoint(scripted.url) as changing, pytest.raises(BadAnswer, match="length to 4"):
        changing.embed(["a", "b"])


def test_no_text_is_sent_empty_or_too_long(scripted: Scripted):
    def check(asked: Asked) -> Answer:
        assert all(0 < len(text) <= 6000 for text in asked.body["input"])
        return Answer(vectors_of(len(asked.body["input"])))

    scripted.say(check)
    with endpoint(scripted.url) as remote:
        assert len(remote.embed(["", "x" * 100_000]).vectors) == 2
    assert scripted.asked[0].body["encoding_format"] == "float"
    assert scripted.asked[0].target == "/embeddings"


# What an endpoint refuses


@pytest.mark.parametrize(
    "answer", [Answer({"error": {"message": "Pay KEY"}}, 402), Answer({"error": {"type": "insufficient_quota"}}, 429)]
)
def test_missing_credit_is_reported_without_the_key(scripted: Scripted, answer: Answer):
    scripted.say(with_key(answer, "sk-secret"))
    remote = OpenAiEmbedder(scripted.url, "sk-secret", model="m", first_wait_seconds=0.01)
    with pytest.raises(ServiceRefused, match="no credit left") as told:
        remote.embed(["a"])
    assert (remote.requests, "sk-secret" in str(told.value)) == (1, False)


def test_a_refused_text_costs_only_itself():
    """The other texts of its request keep their vectors."""
    texts = [f"film {number}" for number in range(64)]
    texts[17] = texts[40] = "a forbidden film"
    stand_ins = SimulatorSettings(embedding_refused_words=("forbidden",))
    with running_simulator(World("empty"), stand_ins) as simulator, endpoint(simulator.openai_url) as remote:
        embedding = remote.embed(texts)
        assert remote.requests < 30
        alone = remote.embed([texts[5], texts[63]]).vectors
    assert list(embedding.refused) == [17, 40]
    assert all("content management policy" in why for why in embedding.refused.values())
    assert np.flatnonzero(np.linalg.norm(embedding.vectors, axis=1) == 0).tolist() == [17, 40]
    # Each vector is still that of its own text.
    assert np.allclose(embedding.vectors[[5, 63]], alone)


def test_an_endpoint_that_refuses_everything_fails_early(scripted: Scripted):
    scripted.say(Answer({"error": {"message": "unknown field"}}, 400))
    with endpoint(scripted.url) as remote:
        with pytest.raises(RequestRejected, match="unknown field"):
            remote.embed([f"film {number}" for number in range(2_000)])
        assert remote.requests < 40


@pytest.mark.parametrize("text", ["word " * 5_000, "\u6620\u753b" * 5_000])
def test_texts_are_truncated_to_what_models_accept(steady: RunningSimulator, text: str):
    with endpoint(steady.openai_url, model="text-embedding-3-small") as remote:
        embedding = remote.embed(["short", text])
        assert (embedding.refused, remote.requests) == ({}, 1)
    assert embedding.vectors[1].any()


def test_a_text_that_is_still_too_long_is_truncated_further(scripted: Scripted):
    def check(asked: Asked) -> Answer:
        if any(len(text) > 400 for text in asked.body["input"]):
            return Answer({"error": {"message": "the input length exceeds the context length"}}, 400)
        return Answer(vectors_of(len(asked.body["input"])))

    scripted.say(check)
    with endpoint(scripted.url, model="something-small") as remote:
        embedding = remote.embed(["short", "x" * 5_000, "short"])
    assert embedding.refused == {}
    assert embedding.vectors.any(axis=1).all()


def test_a_long_text_is_truncated_by_its_scripts_tokens():
    assert truncate("abc" * 10, 10) == "abc" * 10
    assert truncate("abc" * 11, 10) == "abc" * 10
    assert truncate("\u6620" * 10, 10) == "\u6620" * 5


def test_no_key_is_sent_to_a_local_endpoint(scripted: Scripted):
    scripted.say(Answer(vectors_of(1)))
    with endpoint(scripted.url, None) as remote:
        remote.embed(["a"])
    assert "authorization" not in scripted.asked[0].headers


# By the settings


def test_the_settings_select_the_embedder(scripted: Scripted):
    assert make_embedder(load_settings()).name == "static-minilm-1-320"
    scripted.say(Answer("", 500), Answer(vectors_of(1)))
    settings = load_settings(
        embedder="openai",
        embedder_url=scripted.url,
        embedder_model="local",
        http_attempts=2,
        http_retry_wait_seconds=0.01,
    )
    remote = make_embedder(settings)
    assert remote.name == "openai-local-3"
    assert len(scripted.asked) == 2


def test_a_missing_package_is_reported_with_the_command_to_install_it(tmp_path: Any):
    with pytest.raises(ServiceNotConfigured, match="pip install"):
        make_embedder(load_settings(embedder="fastembed", home=tmp_path))
