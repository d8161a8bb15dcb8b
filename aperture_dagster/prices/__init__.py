"""Prices of embedding models: a public list, what each model costs for this library, and what an endpoint offers."""
