"""Hostile input: `python -m benchmarks.hostile --mutants 1000` takes a corpus and seeded mutants of every kind of media in, and counts how each ended.

samples: small whole files, and their mutants. corpus: what somebody made to do harm. taken: a file, manifest, script, address or weights taken in, in
a process of its own. canary: what tells of reads outside and of requests.
"""
