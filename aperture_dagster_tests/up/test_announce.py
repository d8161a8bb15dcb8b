"""`aperture up` says when it can be used."""

from __future__ import annotations

from typing import Any

import pytest

from aperture_dagster.up import announce, health


def test_a_start_says_what_is_missing_then_where_the_ui_is_and_then_that_the_lists_are_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(announce, "SILENT_SECONDS", -1.0)
    monkeypatch.setattr(announce.time, "sleep", lambda seconds: None)
    problems = iter(["No webserver answers", "No webserver answers", None])
    monkeypatch.setattr(announce, "find_problem", lambda *_, **__: next(problems))
    counts = iter([(0, 0, 0, 0), (2, 1, 0, 1), (2, 1, 0, 0), (2, 1, 1, 0)])

    def stats(*_: Any) -> dict[str, Any]:
        names = ("numPartitions", "numMaterialized", "numFailed", "numMaterializing")
        return {"assetNodes": [{"partitionStats": dict(zip(names, next(counts), strict=True))}]}

    monkeypatch.setattr(health, "ask_graphql", stats)
    announce.announce("127.0.0.1", 1, key="", since=0.0, ready="Ready: http://x", address="http://x")
    missing = "Not ready yet: No webserver answers.\n"
    assert capsys.readouterr().out == f"{missing}Ready: http://x\n1 of 2 lists is ready: http://x/\n"
