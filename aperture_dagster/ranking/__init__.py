"""How we think: pure functions on numpy arrays and pandas frames; no I/O, no Dagster, no network, no database.

The unit is a work (film or series), row 0..n-1 of an item table, with the vectors in the same order.

Public API, a module each (imported from there, so that nothing heavy loads before it is needed):

- ``text``: ``title_text(row)``, ``RECIPE`` - the text by which a title is embedded
- ``taste``: ``taste_weights``, ``centre``, ``library_mean``, ``taste_profile``, ``TasteConfig``
- ``facts``: ``facts_of`` - taste in people, studios, keywords, genres and years
- ``similarity``: ``history_similarity``, ``nearest_k_similarity``, ``nearest_liked``
- ``popularity``: ``priors``, ``bayesian_average``, ``log_votes``, ``quantile_rank``, ``local_top_picks``
- ``collaborative``: ``fit_ease``, ``Ease``, ``recommended_from``
- ``diversity``: ``mmr``
- ``recommend``: ``recommend(RankingInputs, RankingConfig)``, or ``prepare`` once and ``RankingModel.for_user``;
  ``library_of``, ``exclusions`` (``config``, ``library`` and ``exclusions`` are its parts)
- ``evaluation``: ``leave_last_out``, ``ndcg_at``, ``hit_rate_at``, ``recall_at``, ``mean_popularity``, ``coverage``,
  ``intra_list_diversity``
- ``histories``: ``tidy_histories`` and the columns of a history
"""
