"""Tests of the portal with third-party OpenID providers, and of `portal serve` in separate processes.

A test of a provider names the cells of docs/interoperability.md that it covers with
`@pytest.mark.shows("<provider>", "<capability>")`; scripts/interoperability.py generates the table
(docs/decisions/041).
"""
