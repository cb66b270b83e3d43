"""Postgres: what was asked, what is being done, what was made of what. It knows nothing of models or flows."""
