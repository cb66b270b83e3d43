"""Dubwright over HTTP: an API for those who drive it from systems of their own, and webhooks that tell them what happened."""
