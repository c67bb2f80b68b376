"""Work on many items: their order, and what is said when a process dies."""

import os
import time

import pytest

from lib.errors import UserError
from lib.pool import ordered


def slow_first(item: int) -> int:
    time.sleep(0.2 if item == 0 else 0)
    return item * item


def die(item: int) -> int:
    os._exit(item)


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_items(workers: int) -> None:
    found = ordered(slow_first, iter(range(50)), workers=workers, chunk=1)
    assert list(found) == [i * i for i in range(50)]


def test_a_process_that_dies_is_one_line() -> None:
    with pytest.raises(UserError, match="worker process died"):
        list(ordered(die, [1, 2, 3], workers=2))
    with pytest.raises(UserError, match="give 1 or more"):
        list(ordered(die, [1], workers=0))
