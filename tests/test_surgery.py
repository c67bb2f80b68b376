from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lib import encoders, heads, models, surgery
from lib.errors import UserError
from lib.models import Classifier
from lib.spec import Spec, n_layers_of, read_spec
from tests.conftest import CONFIG, toy_split


def logits(classifier: Classifier) -> torch.Tensor:
    batch = toy_split(8).collate(toy_split(8).ids)
    classifier.eval()
    with torch.no_grad():
        return classifier(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])


def masked_logits(classifier: Classifier, gone: list[tuple[int, int]]) -> torch.Tensor:
    gates = [torch.ones(4) for _ in range(3)]
    for layer, head in gone:
        gates[layer][head] = 0
    with heads.gated(classifier, gates):
        return logits(classifier)


@pytest.fixture
def classifier(toy_spec: Spec, toy_model: Path) -> Classifier:
    torch.manual_seed(0)
    return surgery.build(toy_spec, model=toy_model)


ALL_HEADS = [(layer, head) for layer in range(3) for head in range(4)]


@pytest.mark.parametrize(
    "gone",
    [
        *[[at] for at in ALL_HEADS],
        [(0, 0), (0, 3), (2, 1)],
        [(1, 0), (1, 1), (1, 2), (1, 3)],
    ],
)
def test_removing_heads_equals_masking_them_also_after_save_and_load(
    classifier: Classifier, toy_spec: Spec, tmp_path: Path, gone: list[tuple[int, int]]
) -> None:
    masked = masked_logits(classifier, gone)
    assert not torch.allclose(masked, logits(classifier), atol=1e-6), "the mask does something"
    before, _ = surgery.count_parameters(classifier)
    surgery.remove_heads(classifier, gone)
    assert torch.allclose(logits(classifier), masked, atol=1e-6)
    after, _ = surgery.count_parameters(classifier)
    assert before - after == len(gone) * (4 * 32 * 8 + 3 * 8), "weights and biases are gone"

    kept = {i: tuple(some) for i, some in enumerate(classifier.kept_heads) if len(some) < 4}
    spec = replace(toy_spec, heads=kept)
    surgery.save(tmp_path / "best", classifier, spec, record={"step": 1})
    read, _ = read_spec(tmp_path / "best")
    assert read == spec
    assert torch.equal(logits(surgery.build(read, best=tmp_path / "best")), logits(classifier))


def test_removing_nothing_changes_nothing(classifier: Classifier) -> None:
    before = logits(classifier)
    surgery.remove_heads(classifier, [])
    assert torch.equal(logits(classifier), before)


def test_a_pruned_model_can_be_pruned_again(classifier: Classifier) -> None:
    masked = masked_logits(classifier, [(0, 1), (0, 2), (1, 3)])
    surgery.remove_heads(classifier, [(0, 1)])
    surgery.remove_heads(classifier, [(0, 2), (1, 3)])
    assert classifier.kept_heads == [[0, 3], [0, 1, 2], [0, 1, 2, 3]]
    assert torch.allclose(logits(classifier), masked, atol=1e-6)
    with pytest.raises(UserError, match="no head 0:1"):
        surgery.remove_heads(classifier, [(0, 1)])


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_a_truncated_encoder_equals_the_hidden_states_of_the_whole_one(
    classifier: Classifier, toy_spec: Spec, toy_model: Path, kept: int
) -> None:
    batch = toy_split(8).collate(toy_split(8).ids)
    inputs = {key: batch[key] for key in ("input_ids", "attention_mask")}
    classifier.eval()
    whole = classifier.encoder(**inputs, output_hidden_states=True).hidden_states[kept]
    for spec in (replace(toy_spec, keep_layers=kept), replace(toy_spec, read_layers=kept)):
        cut = surgery.build(spec, model=toy_model)
        cut.head.load_state_dict(classifier.head.state_dict())
        cut.eval()
        assert torch.allclose(cut(**inputs), cut.head(whole[:, 0]), atol=1e-6)
    assert len(cut.layers) == 3, "read_layers keeps what it does not compute"


def test_padding_does_not_change_logits(toy_spec: Spec, toy_model: Path) -> None:
    split = toy_split(6)
    for pooling in models.POOLINGS:  # also a learned sum of layers
        torch.manual_seed(0)
        classifier = surgery.build(replace(toy_spec, pooling=pooling), model=toy_model).eval()
        batch = split.collate(split.ids)
        inputs = {key: batch[key] for key in ("input_ids", "attention_mask")}
        together = classifier(**inputs)
        for row in split.ids:
            alone = classifier(input_ids=split.collate(split.ids[row : row + 1])["input_ids"])
            assert torch.allclose(together[row], alone[0], atol=1e-5)


@pytest.mark.parametrize("n_frozen", [0, 1, 2, 3])
def test_logits_from_the_cached_prefix_equal_those_without(
    toy_spec: Spec, toy_model: Path, n_frozen: int
) -> None:
    spec = replace(toy_spec, frozen_embeddings=True, frozen_layers=tuple(range(n_frozen)))
    classifier = surgery.build(spec, model=toy_model).train()
    batch = toy_split(8).collate(toy_split(8).ids)
    inputs = {key: batch[key] for key in ("input_ids", "attention_mask")}
    assert classifier.prefix_layers == n_frozen
    ahead = classifier.prefix(**inputs)
    assert not ahead["hidden"].requires_grad
    torch.manual_seed(5)
    cached = classifier(**ahead)
    torch.manual_seed(5)
    assert torch.equal(cached, classifier(**inputs))


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize("gone", [[], [(2, 1)], [(2, head) for head in range(4)]])
def test_leaving_out_what_is_not_read_of_the_last_layer_changes_no_logit_and_no_gradient(
    kind: str, gone: list[tuple[int, int]]
) -> None:
    torch.manual_seed(0)
    encoder = encoders.empty_encoder({**CONFIG, "model_type": kind, "pad_token_id": 0})
    classifier = Classifier(encoder, n_classes=2).eval()
    surgery.remove_heads(classifier, gone)
    batch = toy_split(8).collate(toy_split(8).ids)
    inputs = {key: batch[key] for key in ("input_ids", "attention_mask")}
    everywhere, mask = classifier.states(**inputs)
    expected = classifier.head(models.pool(everywhere[-1], mask, "cls"))
    pooled: list[torch.Size] = []
    classifier.layers[-1].output.register_forward_hook(  # type: ignore[union-attr]
        lambda _, __, out: pooled.append(out.shape)
    )
    found = classifier(**inputs)
    assert pooled == [(8, 1, 32)]
    assert torch.allclose(found, expected, atol=1e-6)
    # Sums of other lengths are rounded otherwise: 1e-7 of gradients of up to 1.
    parts = [parameter for parameter in classifier.parameters() if parameter.numel()]
    pairs = zip(
        torch.autograd.grad(found.square().sum(), parts, allow_unused=True),
        torch.autograd.grad(expected.square().sum(), parts, allow_unused=True),
        strict=True,
    )
    for ours, other in pairs:
        assert (ours is None) == (other is None)
        assert ours is None or other is None or torch.allclose(ours, other, atol=1e-5)


def test_embeddings_that_learn_leave_no_prefix_to_cache(toy_spec: Spec, toy_model: Path) -> None:
    classifier = surgery.build(replace(toy_spec, frozen_layers=(0, 1)), model=toy_model)
    assert classifier.prefix_layers is None


def test_what_is_frozen_stays_in_eval_mode_while_the_rest_trains(
    toy_spec: Spec, toy_model: Path
) -> None:
    spec = replace(toy_spec, frozen_embeddings=True, frozen_layers=(0, 2))
    classifier = surgery.build(spec, model=toy_model).train()
    assert [layer.training for layer in classifier.layers] == [False, True, False]
    assert not classifier.embeddings[0].training
    learning = {name for name, p in classifier.named_parameters() if p.requires_grad}
    assert learning == {
        name for name, _ in classifier.named_parameters() if "layer.1." in name or "head." in name
    }


def test_layers_above_the_read_one_do_not_wait_for_gradients(
    toy_spec: Spec, toy_model: Path
) -> None:
    classifier = surgery.build(replace(toy_spec, read_layers=2), model=toy_model)
    batch = toy_split(4).collate(toy_split(4).ids)
    classifier(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
    ).sum().backward()
    assert all(p.grad is not None for p in classifier.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keep_layers": 4}, "cannot keep 4 layers: the encoder has 3"),
        ({"keep_layers": 0}, "cannot keep 0 layers"),
        ({"frozen_layers": (3,)}, "cannot freeze layers"),
        ({"heads": {0: (7,)}}, "cannot keep"),
        ({"pooling": "median"}, "pooling 'median'"),
    ],
)
def test_a_spec_that_does_not_fit_the_model_is_an_error(
    toy_spec: Spec, toy_model: Path, change: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        surgery.build(replace(toy_spec, **change), model=toy_model)  # type: ignore[arg-type]


@pytest.mark.parametrize(("amount", "count"), [(0.75, 3), (9, 9), (0, 0), (0.01, 1), (0.5, 2)])
def test_layers_are_given_as_a_count_or_a_fraction(amount: float, count: int) -> None:
    n_layers = 12 if amount == 9 else 4
    assert n_layers_of(amount, n_layers, what="--first") == count


@pytest.mark.parametrize("amount", [5, -1, 1.5])
def test_a_layer_count_that_the_model_lacks_is_an_error(amount: float) -> None:
    with pytest.raises(UserError, match="--first"):
        n_layers_of(amount, 4, what="--first")


def test_flipped_bytes_in_saved_weights_are_found(
    classifier: Classifier, toy_spec: Spec, tmp_path: Path
) -> None:
    best = tmp_path / "best"
    surgery.save(best, classifier, toy_spec, record={})
    weights = bytearray((best / "model.safetensors").read_bytes())
    weights[-5] ^= 1
    (best / "model.safetensors").write_bytes(weights)
    with pytest.raises(UserError, match="damaged"):
        surgery.build(toy_spec, best=best)


def test_a_model_folder_that_lacks_weights_is_an_error(toy_model: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    with pytest.raises(UserError, match="no model folder"):
        encoders.load_encoder(tmp_path)
    weights = load_file(toy_model / "model.safetensors")
    (tmp_path / "config.json").write_bytes((toy_model / "config.json").read_bytes())
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"lacks weights: encoder\.layer\.1"):
        encoders.load_encoder(tmp_path)
