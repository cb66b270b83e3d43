"""Masks and keypoints to a dense flow: one matrix product, so that PyTorch's own kernels serve every device."""

from kernels.motion.reference import affine_maps, dense_flow

__all__ = ["affine_maps", "dense_flow"]
