"""A hostile provider: everything valid with one thing wrong, and what must come of it."""
