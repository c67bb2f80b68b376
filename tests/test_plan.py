import numpy as np
import pytest

from lib import plan


@pytest.mark.parametrize("n", [1, 7, 64, 101])
@pytest.mark.parametrize(("ranks", "accumulation"), [(1, 1), (1, 3), (2, 2), (3, 1)])
@pytest.mark.parametrize("pool", [1, 4])
def test_every_row_is_in_an_epoch_once(n: int, ranks: int, accumulation: int, pool: int) -> None:
    lengths = np.random.default_rng(0).integers(1, 99, n)
    steps = plan.epoch(
        lengths,
        batch_size=4,
        accumulation=accumulation,
        ranks=ranks,
        seed=3,
        epoch=1,
        pool=pool,
    )
    rows = [row for step in steps for rank in step for batch in rank for row in batch]
    assert sorted(rows) == list(range(n))
    assert len(steps) == plan.n_steps(n, 4 * ranks * accumulation)
    assert all(len({len(rank) for rank in step}) == 1 for step in steps), "ranks would wait"


def test_order_depends_on_seed_and_epoch_alone() -> None:
    lengths = np.random.default_rng(0).integers(1, 99, 200)

    def order(seed: int, epoch: int) -> list[int]:
        steps = plan.epoch(lengths, batch_size=8, seed=seed, epoch=epoch)
        return [int(row) for ((batch,),) in steps for row in batch]

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)


def test_a_step_holds_the_same_rows_however_many_ranks_share_it() -> None:
    lengths = np.random.default_rng(0).integers(1, 99, 100)
    one = plan.epoch(lengths, batch_size=8, ranks=1, seed=0, epoch=0)
    two = plan.epoch(lengths, batch_size=4, ranks=2, seed=0, epoch=0)
    for alone, shared in zip(one, two, strict=True):
        assert set(alone[0][0]) == set(np.concatenate([shared[0][0], shared[1][0]]))


def test_pooling_by_length_removes_most_padding() -> None:
    lengths = np.random.default_rng(0).lognormal(3.5, 0.5, 5000).astype(int) + 1

    def waste(pool: int) -> float:
        steps = plan.epoch(lengths, batch_size=16, seed=0, epoch=0, pool=pool)
        padded = sum(len(batch) * lengths[batch].max() for ((batch,),) in steps)
        return float(padded / lengths.sum())

    assert waste(50) < 1.1 < 1.5 < waste(1)


def test_evaluation_batches_keep_to_the_budget_and_miss_no_row() -> None:
    lengths = np.random.default_rng(0).integers(1, 50, 333)
    found = list(plan.by_length(lengths, budget=200))
    assert sorted(np.concatenate(found)) == list(range(333))
    assert all(len(rows) * lengths[rows].max() <= 200 for rows in found)


def test_a_row_longer_than_the_budget_is_a_batch_of_its_own() -> None:
    assert [list(rows) for rows in plan.by_length(np.array([3, 900]), budget=10)] == [[1], [0]]
