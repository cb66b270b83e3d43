"""Imported once by the process that the scale benchmark's workers are forked from."""

from benchmarks.scale_work import load

load()
