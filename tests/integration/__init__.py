"""The portal against OpenID providers that were written elsewhere, and `portal serve` as it is run."""
