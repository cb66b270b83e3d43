"""The guard: no media file is opened before a process that can do no harm has opened it, within limits (docs/hostile.md).

door: what the rest of the program calls. helper: the process; checks and stills: what it does; sandbox: how it shuts itself in.
kinds: containers and decoders that are known, for both sides. This file imports nothing, so that the helper holds little.
"""
