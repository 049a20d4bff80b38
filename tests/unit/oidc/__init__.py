"""Tests of the relying party."""
