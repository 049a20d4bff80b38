"""Forward authentication: a reverse proxy asks whether a request to an application may pass."""
