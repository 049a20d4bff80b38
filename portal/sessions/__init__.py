"""Sessions, logins and token sets, and where they are kept."""
