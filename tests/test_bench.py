import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lib import surgery
from lib.bench import cases as bench_cases
from lib.bench import data as bench_data
from lib.bench import flops as bench_flops
from lib.bench import table as bench
from lib.bench.process import peak_of
from lib.bench.table import Measured, Target
from lib.errors import UserError
from lib.spec import Spec
from scripts import bench as script
from scripts import bench_memory
from tasks.command import ROOT


def sides(*seconds: float, flops: float = 0.0) -> list[Measured]:
    return [Measured(seconds=s, flops=flops) for s in seconds]


def test_a_ratio_is_the_median_of_the_pairs_not_of_the_medians() -> None:
    ours, theirs = sides(1, 10, 2, flops=6e9), sides(3, 10, 8, flops=6e9)
    found = bench.row("c", "p", ours, theirs, target=Target(least=3.0), peak_flops=6e9)
    assert (found.ratio, found.low, found.high, found.n) == (3, 1, 4, 3)
    assert (found.ours_s, found.peer_s) == (2, 8)
    assert found.ours_flops == 3e9
    assert found.ours_share == 0.5
    assert found.reached is True


def test_a_target_of_cost_asks_for_ours_over_peer() -> None:
    target = Target(most=0.55)
    found = bench.row("c", "p", sides(5, 6), sides(10, 10), target=target, peak_flops=1)
    assert found.ratio == pytest.approx(0.55)
    assert found.reached is True
    assert target.reached(0.56) is False
    assert Target().reached(9) is None


def test_repeats_taken_together_add_up_but_for_memory_and_accuracy() -> None:
    parts = [Measured(seconds=1, flops=2, peak_bytes=3, accuracy=0.5), Measured(seconds=2, flops=4)]
    expected = Measured(seconds=3, flops=6, peak_bytes=3, accuracy=0.5)
    assert bench.together(parts) == expected


def test_a_layer_costs_what_its_products_cost_by_hand() -> None:
    config = {"hidden_size": 4, "intermediate_size": 16}
    # T 3: four projections 2*3*4*4 = 96 each, queries by keys and weights by values 2*3*3*4 = 72
    # each, two of the feed-forward part 2*3*4*16 = 384 each.
    by_hand = 4 * 96 + 2 * 72 + 2 * 384
    assert bench_flops.layers(config, np.array([3]), n_layers=1) == by_hand
    assert bench_flops.layers(config, np.array([3, 3]), n_layers=2) == 4 * by_hand
    halved = 2 * 96 + 72 + 2 * 384
    assert bench_flops.layers(config, np.array([3]), n_layers=1, heads=0.5) == halved


def test_the_count_of_a_forward_pass_is_that_of_torchs_counter(
    toy_spec: Spec, toy_model: Path
) -> None:
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    classifier = surgery.build(toy_spec, model=toy_model).eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        classifier(input_ids=torch.ones(2, 7, dtype=torch.long))
    head, lengths = 2 * 2 * 32 * 2, np.array([7, 7])
    expected = bench_flops.layers(toy_spec.encoder, lengths, n_layers=3) + head
    expected -= bench_flops.unread(toy_spec.encoder, lengths)
    assert counter.get_total_flops() == expected


def test_the_count_of_a_speech_encoder_is_that_of_torchs_counter() -> None:
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from lib import scratch_hubert

    encoder = scratch_hubert.encoder(scratch_hubert.Options(layers=2, width=64)).eval()
    config, samples = encoder.config.to_dict(), np.array([16_000, 16_000])
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        hidden = encoder(torch.randn(2, 16_000)).last_hidden_state
    n = bench_flops.frames(config, samples)
    assert hidden.shape[1] == n[0]
    counted = bench_flops.convolutions(config, samples) + bench_flops.projection(config, n)
    counted += bench_flops.layers(config, n, n_layers=2)
    # An even kernel gives one position too many, which the library cuts off.
    extra = 2 * 2 * 64 * (64 // config["num_conv_pos_embedding_groups"]) * 32
    assert counter.get_total_flops() == counted + extra


def test_a_frozen_prefix_counts_once_ahead_and_each_epoch_otherwise() -> None:
    config = {"hidden_size": 4, "intermediate_size": 16, "num_hidden_layers": 3}
    train, validation = np.array([3]), np.array([5])
    one = [float(bench_flops.layers(config, n, n_layers=1)) for n in (train, validation)]
    learnt = 5 * (3 * one[0] + one[1])
    how: dict[str, Any] = {"epochs": 5, "n_frozen": 2}
    found = bench_flops.training(config, train, validation, ahead=True, **how)
    assert found == 2 * sum(one) + learnt
    found = bench_flops.training(config, train, validation, ahead=False, **how)
    assert found == 5 * 2 * sum(one) + learnt


def test_generated_text_is_as_long_as_farstails_pairs_and_equal_each_time(tmp_path: Path) -> None:
    folders = [bench_data.text_files(tmp_path / name) for name in ("a", "b")]
    texts = [(folder / "Train-word.csv").read_text(encoding="utf-8") for folder in folders]
    assert texts[0] == texts[1]
    rows = [line.split("\t") for line in texts[0].splitlines()[1:]]
    n_words = [len(f"{premise} {hypothesis}".split()) for premise, hypothesis, _ in rows]
    assert 60 < np.mean(n_words) < 80
    assert np.std(np.log(n_words)) > 0.25


def test_generated_speech_has_the_lengths_of_shemo(tmp_path: Path) -> None:
    import soundfile

    manifest = bench_data.speech_files(tmp_path / "speech", sizes=(12, 4, 4))
    train = sorted((manifest.parent / "train").glob("*.wav"))
    seconds = [soundfile.info(path).duration for path in train]
    assert len(seconds) == 12
    assert 2.6 < np.median(seconds) < 3.6
    assert 3.5 < np.mean(seconds) < 4.7


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a benchmark of toy size, run as a user runs it."""
    out = tmp_path_factory.mktemp("bench")
    how = ["--quick", "--size", "tiny", "--rows", "64", "--threads", "1", "--data", "none"]
    cases = ["--cases", "full", "heads"]
    line = [sys.executable, "-m", "scripts.bench", *how, *cases, "--out", str(out)]
    subprocess.run(line, cwd=ROOT, check=True, capture_output=True, timeout=240)
    return out


def test_a_small_benchmark_writes_its_table_twice(made: Path) -> None:
    rows = json.loads((made / "bench.json").read_text())["rows"]
    assert len(rows) == 5
    assert all(0 < row["low"] <= row["ratio"] <= row["high"] for row in rows)
    assert {row["target"] for row in rows} >= {"≥ 1.5 x", "time ≤ 0.55", "reported"}
    text = (made / "bench.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(rows)
    assert {line.count("|") for line in lines} == {len(bench.HEADER) + 1}


def test_both_sides_report_accuracy_memory_and_their_arithmetic(made: Path) -> None:
    for row in json.loads((made / "bench.json").read_text())["rows"][:2]:
        assert 0 <= row["ours_accuracy"] <= 1
        assert 0 <= row["peer_accuracy"] <= 1
        assert min(row["ours_bytes"], row["peer_bytes"]) > 1e6
        ours, theirs = row["ours_flops"] * row["ours_s"], row["peer_flops"] * row["peer_s"]
        # The rows are the same on both sides; of 12 layers we leave out five sixths of the last.
        assert ours == pytest.approx(theirs * (1 - 5 / 6 / 12), rel=0.01)


def test_nothing_but_table_and_data_stays(made: Path) -> None:
    kept = {path.name for path in made.iterdir() if not path.name.startswith(".")}
    assert {"bench.json", "bench.md", "models", "prepared", "raw-text"} <= kept
    assert not [name for name in kept if name.startswith("tmp")]


@pytest.mark.parametrize("change", [{"repeats": 0}, {"rows": 1}, {"threads": -1}])
def test_a_wrong_option_is_refused_in_one_line(change: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        script.main(replace(script.Config(out=str(tmp_path)), **change))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_memory_counts_what_a_command_holds_and_not_the_files_it_maps(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(80_000_000))
    mapped = (
        "import mmap, time; f = open('large'); m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)"
    )
    code = {
        "held": "import time; m = bytearray(80_000_000)",
        "mapped": f"{mapped}; sum(m[::4096])",
    }
    peaks = {
        name: peak_of([sys.executable, "-c", f"{text}; time.sleep(0.5)"], folder=tmp_path)
        for name, text in code.items()
    }
    assert 80e6 < peaks["held"] < 130e6
    assert peaks["mapped"] < 50e6
    with pytest.raises(UserError, match="failed: no"):
        peak_of([sys.executable, "-c", "raise SystemExit('no')"], folder=tmp_path)


@pytest.mark.parametrize(
    "change", [{"clips": 150}, {"clips": 0}, {"times": 0}, {"steps": 0}, {"repeats": 0}]
)
def test_wrong_sizes_of_the_memory_benchmark_are_refused(
    change: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="--clips"):
        bench_memory.main(replace(bench_memory.Config(out=str(tmp_path)), **change))
    assert not list(tmp_path.iterdir())


def test_every_case_of_the_command_line_is_there() -> None:
    from typing import get_args

    assert set(get_args(script.Case)) == {*bench_cases.CASES, "recipe", "processes"}
    assert {*script.QUICK, *script.ON_GPU} <= set(get_args(script.Case))
