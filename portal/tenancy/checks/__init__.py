"""Checks of tenant files in addition to their schema."""
