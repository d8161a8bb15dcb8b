"""OMDb: ratings of critics and of the voters of IMDb, and awards."""
