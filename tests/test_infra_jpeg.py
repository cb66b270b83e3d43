"""The JPEG step in memory is the one that goes through files."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from infra.jpeg import JpegStep
from infra.video import pictures
from video_cases import film, run


def test_pictures_are_those_of_the_files_that_ffmpeg_writes(tmp_path: Path) -> None:
    """Frames as in a video, and the pictures that it decodes to, bit for bit, while the encoder's rate control finds its level."""
    source = film(tmp_path / "film.mp4", "322x240", "25", 1.2)
    run("-i", source, "-threads", "1", "-f", "image2", tmp_path / "%06d.jpg")
    files = sorted(tmp_path.glob("*.jpg"))
    steps = JpegStep(), JpegStep()
    with av.open(str(source)) as media:
        decoded = [steps[0](frame) for frame in media.decode(video=0)]
    ours = [steps[1](picture.frame()) for picture in pictures(source)]
    assert len(files) == len(decoded) == len(ours) == 30
    for path, one, other in zip(files, decoded, ours, strict=True):
        assert np.array_equal(cv2.imread(str(path)), one) and np.array_equal(one, other)


def test_arrays_go_the_same_way_and_sizes_do_not_change() -> None:
    grey = np.full((64, 48, 3), (40, 120, 200), np.uint8)
    step = JpegStep()
    assert np.abs(step.array(grey[:, ::-1]).astype(int) - grey).max() <= 4
    with pytest.raises(ValueError, match="48x64"):
        step.array(grey[:32])
