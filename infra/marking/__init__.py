"""Marks on what leaves: an imperceptible watermark in the picture, a signed C2PA manifest, a visible label. docs/marking.md has the maths."""

from infra.marking.label import Label
from infra.marking.watermark import Watermark

__all__ = ["Label", "Watermark"]
