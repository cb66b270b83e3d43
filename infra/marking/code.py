"""64 bits to 752 and back: CRC-24, a convolutional code read softly, each coded bit four times in cells drawn by a fixed seed. Pure.

A reading without a mark yields random bits, which pass the CRC with probability 2^-24: that alone is the false-alarm rate of one try.
"""

import functools

import numpy as np

PAYLOAD, CHECK, MEMORY = 64, 24, 6  # bits
MESSAGE = PAYLOAD + CHECK + MEMORY  # the encoder ends where it began
POLYNOMIALS = (0o171, 0o133)  # the rate 1/2 code of constraint length 7 that CCSDS 131.0-B uses
REPEATS = 4
CODED = MESSAGE * len(POLYNOMIALS) * REPEATS
CELLS = 32  # cells of a tile's side
SEED = 0x44554257  # of which cells hold which bits; public, since a manifest proves origin and this does not


def crc24(data: bytes) -> int:
    """CRC-24 of RFC 4880, section 6.1; that of nothing is not 0."""
    value = 0xB704CE
    for byte in data:
        value ^= byte << 16
        for _ in range(8):
            value <<= 1
            if value & 0x1000000:
                value ^= 0x1864CFB
    return value & 0xFFFFFF


def encode(payload: int) -> np.ndarray:
    """A payload of 64 bits as signs int8 [752]."""
    data = payload.to_bytes(PAYLOAD // 8, "big")
    bits = np.unpackbits(np.frombuffer(data + crc24(data).to_bytes(CHECK // 8, "big"), np.uint8))
    padded = np.concatenate([np.zeros(MEMORY, np.uint8), bits, np.zeros(MEMORY, np.uint8)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, MEMORY + 1) @ (1 << np.arange(MEMORY + 1))  # the newest bit weighs most
    coded = _outputs()[windows].reshape(-1)
    return np.tile(1 - 2 * coded.astype(np.int8), REPEATS)


@functools.cache
def _outputs() -> np.ndarray:
    """What the encoder puts out for each content of its register: bits [128, 2]."""
    register = np.arange(1 << (MEMORY + 1))
    return np.stack([np.array([bin(r & p).count("1") % 2 for r in register]) for p in POLYNOMIALS], 1)


def decode(soft: np.ndarray) -> int | None:
    """The payload whose code word is likeliest for soft signs float [752] (Viterbi, IEEE Trans. IT 13, 1967); None where its CRC fails."""
    votes = soft.reshape(REPEATS, MESSAGE, len(POLYNOMIALS)).sum(0)
    states = 1 << MEMORY
    signs = 1.0 - 2.0 * _outputs()  # [128, 2]
    score = np.full(states, -np.inf)
    score[0] = 0.0
    register = np.arange(2 * states)
    came = np.empty((MESSAGE, states), np.uint8)
    for step, vote in enumerate(votes):
        # a register is the newest bit and the state before, whose oldest bit leaves: it came from state r mod 64 and goes to r div 2
        reached = (score[register % states] + signs @ vote).reshape(states, 2)
        came[step] = reached.argmax(1)
        score = reached.max(1)
    state, bits = 0, np.empty(MESSAGE, np.uint8)
    for step in range(MESSAGE - 1, -1, -1):
        whole = 2 * state + int(came[step, state])
        bits[step] = whole >> MEMORY
        state = whole % states
    data = np.packbits(bits[: PAYLOAD + CHECK]).tobytes()
    payload = data[: PAYLOAD // 8]
    return int.from_bytes(payload, "big") if crc24(payload) == int.from_bytes(data[PAYLOAD // 8 :], "big") else None


@functools.cache
def layout() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where things are in a tile of 32 x 32 cells: cells of the code [752], cells known beforehand [272] and their signs [272]."""
    draw = np.random.Generator(np.random.PCG64(SEED))
    order = draw.permutation(CELLS * CELLS)
    return order[:CODED], order[CODED:], draw.choice(np.array([-1, 1], np.int8), CELLS * CELLS - CODED)


def tile(payload: int) -> np.ndarray:
    """A payload as signs int8 [32, 32]."""
    coded, known, signs = layout()
    cells = np.empty(CELLS * CELLS, np.int8)
    cells[coded], cells[known] = encode(payload), signs
    return cells.reshape(CELLS, CELLS)


def known_tile() -> np.ndarray:
    """What every tile has in common: its known signs, and 0 where the code is, int8 [32, 32]."""
    _, known, signs = layout()
    cells = np.zeros(CELLS * CELLS, np.int8)
    cells[known] = signs
    return cells.reshape(CELLS, CELLS)
