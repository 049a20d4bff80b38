"""The portal against OpenID providers that were written elsewhere, and `portal serve` as it is run.

A test of a provider says with `@pytest.mark.shows("<provider>", "<capability>")` which cells of
docs/interoperability.md it shows; scripts/interoperability.py makes that table (docs/decisions/041).
"""
