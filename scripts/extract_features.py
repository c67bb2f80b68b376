"""Compute what the frozen part of a pretrained encoder gives, once for all runs that freeze it."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lib import files, hub
from lib.errors import UserError
from lib.spec import Spec, n_layers_of, read_encoder_config
from scripts import _cli
from scripts._flags import local_model
from scripts._progress import rows_bar

if TYPE_CHECKING:
    from lib.cache_key import Job
    from lib.cache_split import Rows


@dataclass(frozen=True, kw_only=True)
class Config:
    """Compute the output of a frozen prefix, once for all runs that freeze it, into the cache.

    Training does so by itself where it pays; this does it ahead. The rows are those of training
    and validation (text), or all clips (speech); a run finds them whatever its split, labels, fold
    and seed, if its model, its frozen part and the options below are the same.
    """

    data: str
    """Folder that scripts.prepare_text or scripts.prepare_shemo made."""
    model: str | None = None
    """The pretrained encoder, a local folder or a hub's id; by default ParsBERT or HuBERT base."""
    revision: str | None = None
    """Commit of a hub's model; by default the one this project pins."""
    layers: float | None = None
    """The first N layers, or that fraction below 1; without it, a speech encoder's convolutions."""
    max_length: int = 128
    """Text: tokens of a row at the most."""
    max_seconds: float = 0
    """Speech: longer clips are cut to their middle; 0 keeps them whole."""
    augment: Literal["none", "default"] = "none"
    """Speech: the variants that scripts.augment made, too."""
    amp: Literal["auto", "off", "bf16", "fp16"] = "auto"
    """Mixed precision, on CUDA only; auto takes bf16 where the GPU has it."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    cache_folder: str = "data/cache"
    """Where to keep it."""


def main(cfg: Config) -> list[Path]:
    """The folders of the stores, made now or there already."""
    from lib import packed

    is_speech = packed.is_speech(Path(cfg.data))
    default = hub.HUBERT if is_speech else hub.DEFAULT
    model = local_model(cfg.model or default, cfg.revision)
    encoder = read_encoder_config(model)
    n_layers = None
    if cfg.layers is not None:
        whole = int(encoder["num_hidden_layers"])
        n_layers = n_layers_of(cfg.layers, whole, what="--layers")
    if n_layers is None and not is_speech:
        raise UserError("text has no convolutions to freeze: give --layers")
    spec = Spec(
        encoder=encoder,
        labels=("any",),
        pooling="mean",
        frozen_features=is_speech,
        frozen_embeddings=n_layers is not None,
        frozen_layers=tuple(range(n_layers or 0)),
    )

    from lib import cache, cache_store, surgery
    from lib.device import pick
    from lib.predict import precision

    device = pick(cfg.device)
    dtype, root = precision(cfg.amp, device), Path(cfg.cache_folder)
    classifier = surgery.build(spec, model=model).to(device)
    splits = _speech(cfg) if is_speech else _text(cfg, model)
    if reason := cache.refusal(classifier, splits.values()):
        raise UserError(f"{model}: {reason}")
    jobs, _ = cache.survey(classifier, splits, root=root, dtype=dtype)
    missing = [job for job in jobs if not job.folder.exists()]
    cache_store.check_room(sum(cache.estimate(classifier, j, dtype=dtype) for j in missing), root)
    started = time.perf_counter()
    cache.fill(classifier, missing, dtype=dtype, progress=rows_bar(cache.describe(classifier)))
    seconds = time.perf_counter() - started
    _tell(jobs, missing, cache.describe(classifier), seconds)
    return [job.folder for job in jobs]


def _text(cfg: Config, model: Path) -> "dict[str, Rows]":
    from lib import tokens

    splits = tokens.load(Path(cfg.data), model, max_length=cfg.max_length)
    return {name: splits[name] for name in ("train", "validation")}


def _speech(cfg: Config) -> "dict[str, Rows]":
    from lib import augmented, packed, speech

    folders = [Path(cfg.data)]
    if cfg.augment == "default":
        folders.append(augmented.make(Path(cfg.data))[0])
    max_samples = round(cfg.max_seconds * packed.SAMPLE_RATE)
    return {str(f): speech.whole(f, max_samples=max_samples)[1] for f in folders}


def _tell(jobs: "list[Job]", missing: "list[Job]", what: str, seconds: float) -> None:
    n_bytes = sum(files.size_bytes(job.folder) for job in jobs)
    n_rows, n_made = (sum(len(job.rows) for job in some) for some in (jobs, missing))
    made = f"{n_made} made in {seconds:.1f} s, {n_made / max(seconds, 1e-9):.0f} rows/s"
    where = ", ".join(str(job.folder) for job in jobs)
    how = made if missing else "there already"
    print(f"{where}: output of {what}, {n_rows} rows, {n_bytes / 1e6:.1f} MB; {how}")


if __name__ == "__main__":
    _cli.run(main, Config)
