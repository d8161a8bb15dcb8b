"""Search: names first, then plain words by meaning, among the titles that a member may see.

``words``, ``names`` and the modules beside them are pure; ``rows`` reads the database, and ``found`` asks for each
member anew what they may see. Import from the modules: this one stays empty, so that nothing loads numpy needlessly.
"""
