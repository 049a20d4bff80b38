"""Thin handlers: parse the request, call one service function, render."""
