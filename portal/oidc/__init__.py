"""The relying party. Knows neither Tornado nor a database."""
