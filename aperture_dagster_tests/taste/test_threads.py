"""How many threads numpy computes in."""

from __future__ import annotations

import os

import pytest

from aperture_dagster.build import build_definitions


def test_numpy_computes_in_one_thread_unless_asked_for_more(monkeypatch: pytest.MonkeyPatch):
    """That numpy is loaded later is in ``test_structure.py``."""
    for asked, found in ((None, "1"), ("2", "2")):
        monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
        if asked:
            monkeypatch.setenv("OPENBLAS_NUM_THREADS", asked)
        # It is set before anything is built, and before the part that does not exist is refused.
        with pytest.raises(TypeError, match="no_such_part"):
            build_definitions(no_such_part=None)
        assert os.environ["OPENBLAS_NUM_THREADS"] == found
