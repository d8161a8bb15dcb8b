"""OMDb: ratings of critics and of IMDb's voters, and awards."""
