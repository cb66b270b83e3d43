"""AVCT at its published size: preset `paper`, 256 px, with the published shapes and state-dict keys.

No weights ship with it; `dubwright models import` turns checkpoints that a user is entitled to into safetensors,
and `dubwright train avct --preset paper` trains its parts.
"""
