"""Work ahead: order, bounds, errors in their place, no thread left behind."""

import threading
import time

import cv2
import pytest
import torch

from models.ahead import ahead


def slowly(number: int) -> tuple[int, int]:
    time.sleep(0.002 * (3 - number % 3))
    return number, torch.get_num_threads()


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


@pytest.mark.parametrize("threads", [1, 3])
def test_results_keep_their_order_and_threads_their_number(threads: int) -> None:
    before = torch.get_num_threads(), cv2.getNumThreads()
    assert list(ahead(slowly, range(20), threads)) == [(number, 1) for number in range(20)]
    assert (torch.get_num_threads(), cv2.getNumThreads()) == before and not workers()
    assert list(ahead(slowly, [], threads)) == []


def test_work_is_at_most_one_result_ahead() -> None:
    begun: list[int] = []
    made = ahead(begun.append, range(100), 2)
    next(made)
    time.sleep(0.05)
    assert sorted(begun) == [0, 1, 2]
    made.close()
    assert sorted(begun) == [0, 1, 2] and not workers()


def test_an_error_comes_in_its_place_and_ends_the_work() -> None:
    def fails(number: int) -> int:
        if number == 5:
            raise ValueError("the fifth")
        return number

    made, found = ahead(fails, range(50), 2), []
    with pytest.raises(ValueError, match="the fifth"):
        for number in made:
            found.append(number)
    assert found == [0, 1, 2, 3, 4] and not workers()
