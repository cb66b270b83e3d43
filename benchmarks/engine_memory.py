"""Memory of the preset paper against the length of speech, and against the published order: part of `dubwright bench avct`.

Each runs in a process of its own, from portrait and speech to frames; the peak is the kernel's own figure. Everything
runs over the whole speech but for the renderer: of its frames, which are minutes of work for a second of video on a CPU, a sample
is made, in stretches spread evenly over the speech, each streamed as all frames are. The published order does every frame alike.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from benchmarks import pipeline, published, rows
from benchmarks.deterministic import Filled
from infra.settings import get_settings
from models.avct.features import ROWS_PER_FRAME, WIDTH, audio_rows, phone_rows, pitch_method
from models.avct.paper.audio2pose import AudioToPose, in_units
from models.avct.paper.engine import PaperEngine, made_of
from models.avct.paper.generator import Generator
from models.avct.paper.keypoints import KeypointDetector
from models.avct.paper.pose import reference_pose
from models.avct.paper.pose_picture import draw
from models.avct.paper.transformer import PaperTransformer
from models.faces.crop import cut, published_square
from models.types import Phone, Portrait, Speech

SHORT, LONG = 10.0, 300.0
SAMPLE, STRETCH = 48, 16  # frames rendered for the figure, and frames on end


def peaks(filled: Filled, face: Portrait, short: float = SHORT, long: float = LONG, sample: int = SAMPLE) -> dict[str, float]:
    """Peak MiB of `short` and of `long` seconds, their ratio, and the published order's peak (`long` seconds, eight frames)."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, module in enumerate(filled):
            save_file({key: value.contiguous() for key, value in module.state_dict().items()}, folder / f"{number}.safetensors")
        for length in (short, long):
            _keep(folder / f"{length}.npz", face, pipeline.speech_of(length).speech)
        small, large = (_peak(folder, "one-pass", length, sample) for length in (short, long))
        old = _peak(folder, "published", long, min(sample, 8))
    return {"memory_ratio_long": large / small, "memory_peak_long_mib": large, "memory_peak_short_mib": small, "memory_peak_published_mib": old}


def _keep(path: Path, face: Portrait, speech: Speech) -> None:
    symbols, times = np.array([p.symbol for p in speech.phones]), np.array([(p.start, p.end) for p in speech.phones])
    np.savez(path, picture=face.picture, landmarks=face.landmarks, wave=speech.wave, activity=speech.activity, symbols=symbols, times=times)


def _kept(path: Path) -> tuple[Portrait, Speech]:
    with np.load(path, allow_pickle=False) as data:
        phones = tuple(Phone(str(symbol), *map(float, span)) for symbol, span in zip(data["symbols"], data["times"], strict=True))
        return Portrait(data["picture"], data["landmarks"]), Speech(data["wave"], phones, data["activity"])


def _peak(folder: Path, order: str, length: float, sample: int) -> float:
    command = [sys.executable, "-m", "benchmarks.engine_memory", str(folder), order, str(length), str(sample)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent)
    return float(done.stdout.split()[-1])


def _child(folder: Path, order: str, length: str, sample: int) -> None:
    torch.set_num_threads(get_settings().threads)
    detector, transformer, generator = networks = KeypointDetector(), PaperTransformer(), Generator()
    for number, module in enumerate(networks):
        module.eval().load_state_dict(load_file(folder / f"{number}.safetensors"))

    def audio2pose() -> AudioToPose:
        if order == "published":  # its loop makes the network, reads the checkpoint, and copies one into the other
            network = AudioToPose().eval()
            network.load_state_dict(load_file(folder / f"{len(networks)}.safetensors"))
            return network
        return made_of(AudioToPose, load_file(folder / f"{len(networks)}.safetensors"))

    portrait, speech = _kept(folder / f"{length}.npz")
    make = _published if order == "published" else _one_pass
    made = make(detector, transformer, generator, audio2pose, portrait, speech, sample)
    if made != sample:
        raise RuntimeError(f"{made} frames were made instead of {sample}")
    sys.stdout.write(f"{rows.peak_mib():.1f}\n")


def _one_pass(
    detector: KeypointDetector, transformer: PaperTransformer, generator: Generator, audio2pose: Callable[[], AudioToPose], portrait: Portrait, speech: Speech, sample: int
) -> int:
    engine = PaperEngine(detector, generator, transformer, audio2pose, exact_pitch=pitch_method() == "harvest")
    motion, made = engine.motion(portrait, speech), 0
    count = -(-sample // STRETCH)
    for number in range(count):
        first = (motion.frames - STRETCH) * number // max(1, count - 1)
        made += sum(1 for _ in engine.render(portrait, motion, first, first + min(STRETCH, sample - made)))
    return made


@torch.inference_mode()
def _published(
    detector: KeypointDetector, transformer: PaperTransformer, generator: Generator, audio2pose: Callable[[], AudioToPose], portrait: Portrait, speech: Speech, sample: int
) -> int:
    square = published_square(portrait.landmarks, portrait.picture.shape[:2])
    picture = torch.from_numpy(cut(portrait.picture, square, 256)).permute(2, 0, 1)[None].float() / 255
    heard = audio_rows(speech.wave, speech.frames, exact_pitch=pitch_method() == "harvest").reshape(-1, ROWS_PER_FRAME, WIDTH)
    own = torch.from_numpy(draw(reference_pose((square.to_unit(portrait.landmarks) + 1) * 128))).float()[None, None]
    poses = in_units(audio2pose()(own, torch.from_numpy(heard)))[: len(heard)].numpy()
    phones = phone_rows(speech.phones, speech.frames)[::ROWS_PER_FRAME]
    made = published.frames(detector, transformer, generator, picture, phones, heard, poses)
    return sum(1 for _ in zip(range(sample), made, strict=False))


if __name__ == "__main__":
    _child(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
