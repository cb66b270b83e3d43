"""A picture of lipmemory's memory: `dubwright evaluate lipmemory --slots FILE`. Phones down, slots across, the lips of each slot below."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw

from benchmarks.avct import spread
from models.avct.phonemes import PHONES
from models.avct.transcripts import align_words, read_words
from models.corpus import clips_of, read_clip
from models.faces.crop import cut, face_square
from models.faces.mesh import FaceMesh
from models.lipmemory.engine import LipMemoryEngine
from models.lipmemory.mel import chunks, levelled
from models.lipmemory.slots import addresses, held, ordered
from models.types import FRAME_RATE, Phone

COLUMNS, CELL, ROW = 20, 72, 15  # slots shown; pixels of a slot's column and of a phone's row
LEFT, TOP, GAP = 46, 44, 8
GAIN = 6.0  # how much further from all slots' mean than they are lips are drawn, so that an eye sees how they differ


def picture(grid: Path, file: Path, *, clips: int = 24) -> dict[str, Any]:
    """Draw it from validation clips of the training speaker; returns each phone's slots, most addressed first, and the frames seen."""
    engine = LipMemoryEngine.load()
    sounds = [_heard(path) for path in spread(clips_of(grid)["validation"], clips)]
    table, count = addresses(engine.renderer, sounds)
    known = [i for i in np.argsort(-count) if count[i] >= 5]
    rows = sorted(known, key=lambda i: PHONES[i])
    columns = ordered(table[rows], COLUMNS)
    _sheet(table[np.ix_(rows, columns)], [PHONES[i] for i in rows], columns, _lips(grid, engine, columns, sounds[0][0])).save(file)
    told = {PHONES[i]: [int(s) for s in np.argsort(-table[i])[:3]] for i in rows}
    used = np.exp(-(table[rows].mean(0) * np.log(table[rows].mean(0) + 1e-12)).sum())
    return {"figures": {"slots_in_use": round(float(used), 2)}, "picture": str(file), "phones": told, "frames": int(count.sum())}


def _heard(path: Path) -> tuple[np.ndarray, tuple[Phone, ...]]:
    _, wave = read_clip(path)
    return wave.astype(np.float32) / 32768, tuple(align_words(wave, read_words(path.with_suffix(".align"))))


def _lips(grid: Path, engine: LipMemoryEngine, slots: list[int], wave: np.ndarray) -> np.ndarray:
    """Mouths uint8 RGB [N, CELL, CELL, 3] that slots hold, on the training speaker's face at rest."""
    frame = read_clip(clips_of(grid)["validation"][0])[0][0]
    with FaceMesh() as mesh:
        square = face_square(mesh(frame)[0])
    face = cut(frame, square, engine.size)
    tensor = torch.from_numpy(face[..., ::-1].copy()).to(engine.device).permute(2, 0, 1)[None].float() / 127.5 - 1
    mels = torch.from_numpy(chunks(levelled(wave), np.arange(10, 60) / FRAME_RATE))[:, None].to(engine.device)
    made = held(engine.renderer, tensor, tensor, mels, slots, GAIN).flip(1).permute(0, 2, 3, 1).cpu().numpy()
    mouths = np.clip((made[:, -engine.size // 2 :, engine.size // 4 : -engine.size // 4] + 1) * 127.5, 0, 255).astype(np.uint8)
    return np.stack([cv2.resize(mouth, (CELL - 4, CELL - 4), interpolation=cv2.INTER_CUBIC) for mouth in mouths])


def _sheet(table: np.ndarray, names: list[str], slots: list[int], lips: np.ndarray) -> Image.Image:
    """The sheet; a cell is as dark as its share of the phone's address, relative to the table's highest."""
    width, height = LEFT + CELL * len(slots) + GAP, TOP + ROW * len(names) + GAP + CELL + 24
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((LEFT, 6), f"Audio-Lip Memory: how much each phone (down) addresses each slot (across); below, the lips that the slot holds, their difference from the mean drawn {GAIN:g} times", fill="black")
    for column, slot in enumerate(slots):
        x = LEFT + column * CELL
        draw.text((x + CELL // 2 - 8, TOP - 16), f"{slot}", fill="black")
        sheet.paste(Image.fromarray(lips[column]), (x + 2, TOP + ROW * len(names) + GAP))
    for row, name in enumerate(names):
        y = TOP + row * ROW
        draw.text((8, y + 1), name, fill="black")
        for column in range(len(slots)):
            shade = float(table[row, column] / max(table.max(), 1e-9)) ** 0.7
            colour = tuple(round(255 + shade * (end - 255)) for end in (11, 79, 108))
            x = LEFT + column * CELL
            draw.rectangle((x + 1, y + 1, x + CELL - 2, y + ROW - 2), fill=colour)
    draw.text((8, TOP + ROW * len(names) + GAP + CELL // 2 - 6), "lips", fill="black")
    return sheet
