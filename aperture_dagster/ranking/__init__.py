"""Ranking: pure functions on numpy arrays and pandas frames, without I/O, network, database or Dagster.

A work (film or series) is a row 0..n-1 of an item table; the vectors are in the same order. Import from the modules;
this one stays empty, so that importing ``text`` does not load pandas.

- ``text``: ``title_text`` builds the text that is embedded
- ``histories``: clean up histories and item tables
- ``taste``: ``taste_weights`` and ``taste_profile``
- ``features``: similarity by people, studios, keywords, genres and years
- ``similarity``: similarity by vectors, and the liked titles that explain a pick
- ``collaborative``: EASE, and scores from "recommended from this title" lists
- ``popularity``: ratings and votes as priors, and Top Picks
- ``diversity``: ``mmr``
- ``recommend``: ``prepare(RankingInputs, RankingConfig)`` once per run, then ``RankingModel.for_user``
"""
