"""Makes the demo's recording: synthetic speech, told to be so, that is aligned like any recording of a person."""

from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import resample_poly

from tasks.speech.espeak import speak

HERE = Path(__file__).parent / "recordings"


def main() -> None:
    """Speak the transcript with a voice and speed of its own, resample to 48 kHz, add faint noise."""
    spoken = speak((HERE / "mission.en-GB.txt").read_text().strip(), "en-gb+f4", words_a_minute=150)
    sound = resample_poly(spoken.sound, 48_000, spoken.rate).astype(np.float32)
    sound = np.concatenate([np.zeros(16_000, np.float32), sound, np.zeros(20_000, np.float32)])
    sound += np.random.default_rng(7).normal(0, 0.0015, len(sound)).astype(np.float32)
    soundfile.write(HERE / "mission.en-GB.flac", np.clip(sound, -1, 1), 48_000, subtype="PCM_16")


if __name__ == "__main__":
    main()
