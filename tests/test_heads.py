from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from lib import heads, latency, optim, pruning, surgery
from lib.errors import UserError
from lib.models import Classifier
from lib.spec import Spec
from tests.conftest import toy_split


@pytest.fixture
def classifier(toy_spec: Spec, toy_model: Path) -> Classifier:
    torch.manual_seed(0)
    return surgery.build(toy_spec, model=toy_model).eval()


def test_gradient_importance_equals_finite_differences(classifier: Classifier) -> None:
    split = toy_split(6)
    found = heads.gradient_importance(
        classifier,
        [split.collate(split.ids[:4]), split.collate(split.ids[4:])],
        optim.cross_entropy(),
    )
    classifier = classifier.double()
    step, slopes = 1e-4, np.zeros((3, 4))
    for row in split.ids:
        batch = split.collate(split.ids[row : row + 1])
        labels, _ = batch.pop("labels"), batch.pop("ids")
        for layer, head in np.ndindex(3, 4):
            losses = []
            for gate in (1 + step, 1 - step):
                gates = [torch.ones(4, dtype=torch.float64) for _ in range(3)]
                gates[layer][head] = gate
                with heads.gated(classifier, gates), torch.no_grad():
                    losses.append(cross_entropy(classifier(**batch), labels))
            slopes[layer, head] += abs(float(losses[0] - losses[1])) / (2 * step)
    expected = slopes / np.linalg.norm(slopes, axis=1, keepdims=True)
    assert found == pytest.approx(expected, rel=1e-2, abs=1e-3)


def test_scores_stand_at_the_original_places_of_a_pruned_model(classifier: Classifier) -> None:
    split = toy_split(4)
    before = heads.magnitude(classifier)
    surgery.remove_heads(classifier, [(0, 1), (2, 0), (2, 1), (2, 2), (2, 3)])
    for scores in (
        heads.magnitude(classifier),
        heads.random_scores(classifier, seed=1),
        heads.gradient_importance(classifier, [split.collate(split.ids)], optim.cross_entropy()),
    ):
        assert np.isnan(scores[0, 1])
        assert np.isnan(scores[2]).all()
        assert np.isfinite(scores).sum() == 7
    kept = np.isfinite(heads.magnitude(classifier))
    assert np.array_equal(heads.magnitude(classifier)[kept], before[kept])


def test_magnitude_of_a_head_by_hand(classifier: Classifier) -> None:
    weights = dict(classifier.named_parameters())
    path, rows = "encoder.encoder.layer.1.attention", slice(8, 16)  # head 1 of width 8
    parts = [weights[f"{path}.self.{name}.weight"][rows] for name in ("query", "key", "value")]
    parts.append(weights[f"{path}.output.dense.weight"][:, rows])
    expected = sum(float((part.detach() ** 2).sum()) for part in parts) ** 0.5
    assert heads.magnitude(classifier)[1, 1] == pytest.approx(expected, rel=1e-5)


def test_scoring_leaves_the_model_as_it_was(classifier: Classifier) -> None:
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    classifier.train()
    split = toy_split(4)
    heads.gradient_importance(classifier, [split.collate(split.ids)], optim.cross_entropy())
    assert classifier.training
    assert all(parameter.grad is None for parameter in classifier.parameters())
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())


SCORES = np.array([[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8], [0.05, 0.9, 0.95, 1.0]])


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"fraction": 0.25}, [(2, 0), (0, 0), (0, 1)]),
        ({"fraction": 0.5}, [(2, 0), (0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]),
        (
            {"fraction": 0.5, "min_per_layer": 0},
            [(2, 0), (0, 0), (0, 1), (0, 2), (0, 3), (1, 0)],
        ),
        ({"fraction": 0.25, "scope": "layer"}, [(2, 0), (0, 0), (1, 0)]),
        ({"fraction": 0.9, "scope": "layer"}, 9),
        ({"fraction": 0.0}, []),
    ],
)
def test_the_weakest_heads_go_and_each_layer_keeps_what_it_must(
    how: dict[str, object], expected: object
) -> None:
    found = heads.weakest(SCORES, **how)  # type: ignore[arg-type]
    if isinstance(expected, int):
        assert len(found) == expected
        assert {layer for layer, _ in found} == {0, 1, 2}
    else:
        assert found == expected


def test_removing_more_heads_than_may_go_is_an_error() -> None:
    with pytest.raises(UserError, match="only 9 may go"):
        heads.weakest(SCORES, 0.9)
    with pytest.raises(UserError, match="from 0 to 1"):
        heads.weakest(SCORES, 1.5)


def test_the_pruning_curve_begins_at_the_whole_model_and_ends_where_no_more_may_go(
    classifier: Classifier,
) -> None:
    split = toy_split(20, seed=1)
    points = pruning.curve(classifier, SCORES, split, amp="auto", scope="global", min_per_layer=1)
    from lib.predict import predict

    whole = float((predict(classifier, split).argmax(1) == split.labels).mean())
    assert points[0] == {"fraction": 0.0, "n_removed": 0, "accuracy": whole}
    assert [point["fraction"] for point in points][-1] == 0.7, "0.8 of 12 is more than 9"


def base_size_layer() -> Classifier:
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    encoder = BertModel(BertConfig(num_hidden_layers=1, vocab_size=50), add_pooling_layer=False)
    return Classifier(encoder, n_classes=2).eval()


def test_half_the_heads_of_a_base_size_layer_save_half_of_its_attentions_work() -> None:
    whole, pruned = base_size_layer(), base_size_layer()
    surgery.remove_heads(pruned, [(0, head) for head in range(0, 12, 2)])
    tokens = torch.randint(1, 50, (2, 64))

    def flops(classifier: Classifier) -> int:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            classifier.states(input_ids=tokens)
        return counter.get_total_flops()

    projections = 2 * 128 * 768 * (4 * 768)  # query, key, value, output; 2 x 64 tokens
    assert flops(whole) - flops(pruned) >= projections // 2  # the CPU's kernel is not counted


@pytest.mark.slow
def test_half_the_heads_of_a_base_size_layer_make_it_faster() -> None:
    pruned = base_size_layer()
    surgery.remove_heads(pruned, [(0, head) for head in range(0, 12, 2)])
    batch = {"input_ids": torch.randint(1, 50, (32, 64))}
    times = latency.milliseconds({"whole": base_size_layer(), "pruned": pruned}, batch, seconds=9)
    assert times["pruned"] < times["whole"]


def test_head_scores_are_computed_once_for_a_study_and_again_if_anything_differs(
    toy_spec: Spec, toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = surgery.build(toy_spec, model=toy_model)
    surgery.remove_heads(classifier, [(1, 2)])
    computed: list[str] = []
    real = pruning.scores

    def counted(*args: Any, **how: Any) -> np.ndarray:
        computed.append(how["kind"])
        return real(*args, **how)

    monkeypatch.setattr(pruning, "scores", counted)
    options = {"limit": 20, "seed": 3, "data": "anywhere"}
    of = pruning.identity("abc", toy_spec, {"data": "d"}, options)

    def scores(made_of: dict[str, Any] = of, **change: Any) -> np.ndarray:
        how: dict[str, Any] = {"kind": "gradient", "n_rows": 16, "seed": 0} | change
        return pruning.shared_scores(tmp_path, classifier, toy_split(20), made_of=made_of, **how)

    first = scores()
    assert np.isnan(first[1, 2])
    np.testing.assert_array_equal(scores(), first)
    assert computed == ["gradient"]
    assert of == pruning.identity("abc", toy_spec, {"data": "d"}, options | {"seed": 4})
    others = [
        pruning.identity("abd", toy_spec, {"data": "d"}, options),
        pruning.identity("abc", replace(toy_spec, pooling="mean"), {"data": "d"}, options),
        pruning.identity("abc", toy_spec, {"data": "e"}, options),
        pruning.identity("abc", toy_spec, {"data": "d"}, options | {"limit": 19}),
    ]
    for other in others:
        scores(other)
    scores(n_rows=8)
    scores(seed=1)
    scores(kind="magnitude")
    assert len(computed) == 8
    for path in tmp_path.iterdir():
        path.write_text(path.read_text()[:-30])
    np.testing.assert_array_equal(scores(), first)
    assert len(computed) == 9
