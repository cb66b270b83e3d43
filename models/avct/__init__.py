"""AVCT: one-shot talking face from single-speaker audio-visual correlation (Wang et al., AAAI 2022, arXiv 2112.02749)."""
