"""SQLite, the embedded database."""
