"""TMDb: facts, people, keywords and votes of titles, logos of studios, and titles outside the library."""
