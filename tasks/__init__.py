"""Stages of a job, one a file, thin over pure functions."""
