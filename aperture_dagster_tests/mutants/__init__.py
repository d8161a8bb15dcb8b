"""Mutation testing: small changes of the product's code, each of which a test should notice. See docs/mutants.md."""
