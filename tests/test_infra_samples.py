"""Sounds in files behave as arrays do, and take no memory."""

import tracemalloc

import numpy as np
import pytest

from infra.samples import BLOCK, LONG, Samples, blocks_of, delayed, loudest, mix, settled, silence


def test_what_is_appended_is_read_in_slices() -> None:
    values = np.arange(-500, 500, dtype=np.int16)
    made = Samples(np.int16, [values[:300], values[300:]])
    assert len(made) == 1000 and made.shape == (1000,)
    for part in (slice(None), slice(10, 20), slice(-5, None), slice(990, 2000), slice(50, 40)):
        assert np.array_equal(made[part], values[part])
    assert np.array_equal(np.asarray(made), values) and isinstance(settled(made), np.ndarray)
    with pytest.raises(ValueError, match="in runs"):
        made[::2]


def test_slices_are_written_and_growth_is_silent() -> None:
    made = Samples(np.float32)
    made.grow(10)
    made[3:5] = np.array([1.0, -2.0])
    assert np.asarray(made).tolist() == [0, 0, 0, 1, -2, 0, 0, 0, 0, 0] and loudest(made) == 2
    made.grow(4)  # never shorter
    assert len(made) == 10
    with pytest.raises(ValueError, match="do not go"):
        made[0:3] = np.zeros(2)


@pytest.mark.parametrize("late", [0, 7, -7])
def test_a_delay_is_the_same_in_memory_and_in_a_file(late: int) -> None:
    values = np.random.default_rng(0).normal(0, 1, 100).astype(np.float32)
    assert np.array_equal(np.asarray(delayed(Samples(np.float32, [values]), late)), delayed(values, late))


def test_mixing_is_the_same_in_memory_and_in_a_file() -> None:
    random = np.random.default_rng(1)
    first, second = (random.integers(-30000, 30000, BLOCK + 500).astype(np.int16) for _ in range(2))
    array, file = first.copy(), Samples(np.int16, [first])
    for out in (array, file):
        mix(out, 700, second)
    assert np.array_equal(np.asarray(file), array) and array.max() == 32767 and np.array_equal(array[:700], first[:700])


def test_hours_of_silence_take_no_memory() -> None:
    tracemalloc.start()
    made = silence(LONG + 1, np.float32)
    assert isinstance(made, Samples) and isinstance(silence(LONG, np.int16), np.ndarray)
    assert sum(len(block) for block in blocks_of(made)) == LONG + 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * 2**20
