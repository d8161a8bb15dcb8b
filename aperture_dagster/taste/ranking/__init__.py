"""Ranking: pure functions on numpy arrays and pandas frames, without I/O, network, database or Dagster.

A work (film or series) is a row 0..n-1 of an item table; the vectors are in the same order. Lists come from
``recommend``: ``prepare(RankingInputs, RankingConfig)`` once per run, then ``RankingModel.for_user``. Import from the
modules; this one stays empty, so that importing ``text`` does not load pandas.
"""
