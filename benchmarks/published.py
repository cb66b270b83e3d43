"""AVCT's published order of work, kept as the yardstick of speed and as the test of equal results.

For every frame, batch 1: detect the source's keypoints, encode all eleven steps' tokens, run the transformer, render with the
source encoded anew. The networks are those of models/avct/paper, as a checkpoint loads them.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from models.avct.paper.generator import Generator
from models.avct.paper.keypoints import KeypointDetector, Keypoints
from models.avct.paper.pose_picture import draw
from models.avct.paper.transformer import REACH, PaperTransformer
from models.avct.phonemes import SIL


@torch.inference_mode()
def frames(
    detector: KeypointDetector, transformer: PaperTransformer, generator: Generator,
    picture: Tensor, phones: np.ndarray, rows: np.ndarray, poses: np.ndarray,
) -> Iterator[np.ndarray]:  # fmt: skip
    """Frames uint8 [256, 256, 3] of a source picture [1, 3, 256, 256], phones [T], feature rows [T, 4, 41] and poses [T, 6]."""
    first: Keypoints | None = None
    phones = np.pad(phones, REACH, constant_values=SIL)
    rows = np.pad(rows, ((REACH, REACH), (0, 0), (0, 0)))
    poses = np.pad(poses, ((REACH, REACH), (0, 0)), mode="edge")
    for t in range(len(phones) - 2 * REACH):
        source, feature_map = detector(picture)
        window = slice(t, t + 2 * REACH + 1)
        drawn = torch.from_numpy(np.stack([draw(pose) for pose in poses[window]]))[:, None].float()
        seen = transformer.encoder_tokens(torch.from_numpy(phones[window]), drawn)
        heard = transformer.decoder_tokens(torch.from_numpy(rows[window]), feature_map)
        made = transformer(seen[None], heard[None])
        first = first or made
        driving = Keypoints(
            source.values + made.values - first.values, made.jacobians @ torch.linalg.inv(first.jacobians) @ source.jacobians
        )
        painted = generator(picture, source, driving)[0]
        yield (painted[0].permute(1, 2, 0) * 255).to(torch.uint8).numpy()
