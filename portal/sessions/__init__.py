"""Sessions, login attempts, logins and token sets."""
