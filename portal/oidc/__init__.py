"""The relying party. Independent of Tornado and of any database."""
