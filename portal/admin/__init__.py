"""Tenants of the database: their content, revisions and drafts. No module here knows HTTP."""
