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
    assert len(steps) == -(-n // (4 * ranks * accumulation))
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


@pytest.mark.parametrize("shares", [1, 2])
def test_a_budget_bounds_the_padded_length_of_each_step(shares: int) -> None:
    lengths = np.random.default_rng(0).integers(1, 60, 500)
    steps = plan.epoch(lengths, batch_size=32, budget=150, accumulation=shares, seed=0, epoch=0)
    batches = [batch for step in steps for batch in step[0]]
    assert sorted(np.concatenate(batches)) == list(range(500))
    assert all(len(batch) <= 32 for batch in batches)
    for step in steps:
        rows = np.concatenate(step[0])
        assert len(rows) * lengths[rows].max() <= 150 * shares or len(rows) == 1


@pytest.mark.parametrize("ranks", [1, 3])
def test_a_step_in_passes_holds_the_same_rows_and_as_many_passes_on_each_rank(ranks: int) -> None:
    lengths = np.random.default_rng(0).integers(1, 60, 200)
    lengths[7] = 400
    steps = plan.epoch(lengths, batch_size=16, accumulation=2, ranks=ranks, seed=0, epoch=0, pool=1)
    for step in steps:
        passes = plan.in_passes(step, lengths, budget=150)
        assert len({len(of_rank) for of_rank in passes}) == 1
        for before, after in zip(step, passes, strict=True):
            assert sorted(np.concatenate(after)) == sorted(np.concatenate(before))
            assert all(len(r) * lengths[r].max() <= 150 for r in after if len(r) > 1)
    assert plan.in_passes([[np.array([7, 3])]], lengths, budget=9999)[0][0].tolist() == [3, 7]


def test_balanced_rows_hold_each_class_equally_and_repeat_none_too_early() -> None:
    labels = np.repeat([0, 1, 2], [60, 30, 9])
    rows = plan.balanced(labels, seed=0, epoch=0)
    assert np.bincount(labels[rows]).tolist() == [33, 33, 33]
    times = np.bincount(rows, minlength=99)
    assert set(times[:60]) == {0, 1}
    assert set(times[60:90]) == {1, 2}
    assert set(times[90:]) == {3, 4}
    assert not np.array_equal(rows, plan.balanced(labels, seed=0, epoch=1))
    order = plan.epoch(np.ones(99), rows=rows, batch_size=8, seed=0, epoch=0)
    assert sorted(np.concatenate([b for ((b,),) in order])) == sorted(rows)
