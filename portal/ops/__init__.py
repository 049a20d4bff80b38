"""Logging and other things an operator needs."""
