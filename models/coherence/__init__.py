"""Audio-visual coherence: a generator that learns to keep the mutual information of sound and lips, and its estimator (Zhu et al., IJCAI 2020)."""
