"""Logs, metrics, processes, sockets and limits of the system."""
