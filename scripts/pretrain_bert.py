"""Let a text encoder learn without labels: tell the words that are hidden from it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib import hub, runs
from lib.errors import UserError
from lib.options import Training
from lib.spec import read_encoder_config
from scripts import _cli
from scripts._flags import local_model
from scripts._pretrain import Pretraining, check_name, learn

if TYPE_CHECKING:
    import torch

    from lib.fit import Task
    from lib.tokens import TokenSplit


@dataclass(frozen=True, kw_only=True)
class Config(Pretraining):
    """Let a text encoder learn without labels, by masked language modelling of whole words.

    A twentieth of the texts is held out, to measure by. Of a prepared corpus only the training
    split is read.
    """

    data: str = "data/prepared/farstail-none"
    """Folder that scripts.prepare_text made, or a text file: UTF-8, one text a line; a tab parts
    two that belong together."""
    model: str = hub.DEFAULT
    """To start from: BERT, RoBERTa or XLM-R, a folder or a hub's id, or an untrained one."""
    mask_share: float = 0.15
    """Of a text's tokens, those to be told."""
    max_length: int = 128
    """Tokens of a row at the most, special ones included."""
    epochs: float = 10
    """Passes over the texts."""
    batch_size: int = 32
    """Rows of one forward pass, at the most."""
    learning_rate: float = 1e-4
    """The highest rate of the schedule, as BERT's own; 5e-5 forgets less of a pretrained one."""


def main(cfg: Config) -> dict[str, Any]:
    """What source.json of the model says."""
    check_name(cfg)
    model = local_model(cfg.model, cfg.revision)
    encoder = read_encoder_config(model)
    if "conv_kernel" in encoder:
        raise UserError(f"{model} is a speech encoder; pretrain_hubert is for speech")
    texts, fingerprint, about = _texts(cfg, model)

    def task_of(device: "torch.device", options: Training) -> "Task":
        return _task(cfg, model, encoder, texts, device, options)

    inputs = {"data": fingerprint, "model": runs.weights_sha256(model)}
    return learn(cfg, task_of, made_by="pretrain-bert", inputs=inputs, about=about)


def _texts(cfg: Config, model: Path) -> "tuple[TokenSplit, str, dict[str, Any]]":
    """The rows, their fingerprint, and what source.json is to tell of them."""
    from lib import text
    from lib.pretrain import text as pretrain_text
    from lib.sample import MARKER

    data = Path(cfg.data)
    if data.is_dir():
        meta = text.read_meta(data)
        split, fingerprint = pretrain_text.of_prepared(data, model, max_length=cfg.max_length)
        about = {"corpus": meta["name"], "split": "train", "sample": meta["sample"]}
    else:
        with _cli.progress_bar("lines", label="tokens") as progress:
            split, fingerprint = pretrain_text.of_file(
                data,
                model,
                max_length=cfg.max_length,
                cache=Path(cfg.cache_folder),
                progress=progress,
            )
        about = {"corpus": data.name, "sample": (data.parent / MARKER).exists()}
    return split, fingerprint, {"data": fingerprint, **about}


def _task(
    cfg: Config,
    model: Path,
    encoder: dict[str, Any],
    texts: "TokenSplit",
    device: "torch.device",
    options: Training,
) -> "Task":
    """What the loop needs to know."""
    import functools

    import torch

    from lib import fit, optim
    from lib.predict import training_budget
    from lib.pretrain import masks
    from lib.pretrain import output as pretrain
    from lib.pretrain import text as pretrain_text
    from lib.pretrain.models import MaskedText, body_of, text_head
    from lib.tokenizer import load_tokenizer

    torch.manual_seed(cfg.seed)
    body = body_of(model, encoder, layerdrop=cfg.layerdrop)
    body.recompute = cfg.activation_checkpointing
    n_tokens, width = body.encoder.get_input_embeddings().weight.shape
    words = masks.vocabulary(load_tokenizer(model), share=cfg.mask_share, n_tokens=n_tokens)
    train, held_out = pretrain_text.parted(texts, words, limit=cfg.limit)
    head = text_head(model, width=width, n_tokens=n_tokens)
    learner = MaskedText(body, head=head).to(device)
    return fit.Task(
        model=learner,
        train=train,
        loss_fn=optim.cross_entropy(label_smoothing=cfg.label_smoothing),
        validate=functools.partial(pretrain.validate, learner, held_out, amp=options.amp),
        save=lambda folder, record: pretrain.save(folder, learner, start=model, record=record),
        budget=training_budget(learner, train),
    )


if __name__ == "__main__":
    _cli.run(main, Config)
