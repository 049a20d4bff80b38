"""Tests of the outbound HTTP client."""
