"""Cluster the frames of prepared speech by k-means: units, for pretrain_hubert to tell."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lib import files, packed
from lib.errors import UserError
from lib.spec import Spec, read_encoder_config
from scripts import _cli
from scripts._flags import local_model

if TYPE_CHECKING:
    from lib.pretrain.features import Features, Frames


@dataclass(frozen=True, kw_only=True)
class Config:
    """Cluster the frames of prepared speech: DATA/units/NAME, a unit a frame of every clip.

    The clusters are learnt from training clips alone; which those are --split, --fold and --labels
    say, as for train_hubert. By default frames are described by MFCC and their slopes, 50 a
    second; by what a layer of a model gives, at its own rate, with --model and --layer.
    """

    data: str = "data/prepared/shemo"
    """Folder that scripts.prepare_shemo or scripts.prepare_audio made."""
    name: str = "mfcc"
    """Of the units: the folder below DATA/units."""
    units: int = 100
    """How many clusters; HuBERT had 100, and 500 in its second iteration."""
    model: str | None = None
    """For a second iteration: a model's folder, or a hub's id."""
    revision: str | None = None
    """Commit of a hub's model; by default the one this project pins."""
    layer: int | None = None
    """Of the model: the output of its N-th layer, from 1; by default the middle one."""
    labels: Literal["filename", "transcript", "agree"] = "filename"
    """Label version, which decides on the clips of each split and on the purity."""
    split: Literal["speaker", "report", "emobox", "manifest", "all"] = "speaker"
    """Who trains, see lib.splits; all learns from every clip, of a corpus that tests nobody."""
    fold: int = 1
    """Which fifth of the speakers tests, 1 to 5."""
    emobox: str | None = None
    """EmoBox's list of clips, for --split emobox."""
    frames: int = 400_000
    """To learn from, of clips drawn at random: they are held in memory, all else is not."""
    seed: int = 0
    """Of the draw and of the first centroids."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N, for --model."""
    amp: Literal["auto", "off", "bf16", "fp16"] = "auto"
    """Mixed precision, on CUDA only."""
    force: bool = False
    """Make the units again, in the place of those made otherwise."""


def main(cfg: Config) -> dict[str, Any]:
    """What the units' meta.json says."""
    if cfg.layer is not None and cfg.model is None:
        raise UserError(f"--layer {cfg.layer} is of a model: give --model")
    if not 2 <= cfg.units <= 2**16 or cfg.frames < cfg.units:
        raise UserError(f"--units {cfg.units}, --frames {cfg.frames}: give 2 to 65536, and more")
    if not cfg.name or Path(cfg.name).name != cfg.name or cfg.name.startswith("."):
        raise UserError(f"--name {cfg.name!r} is no name of a folder below {cfg.data}/units")
    folder = Path(cfg.data) / "units" / cfg.name
    made_of = _made_of(cfg)
    with files.locked(folder.parent / f".{folder.name}.lock", wait=True):
        if folder.exists() and not cfg.force:
            return _kept(folder, made_of)
        return _make(cfg, folder, made_of)


def _made_of(cfg: Config) -> dict[str, Any]:
    """All that decides on the units, fit for JSON."""
    from lib import runs

    told = asdict(cfg)
    for name in ("device", "amp", "force", "name", "data", "model", "revision"):
        told.pop(name)
    told["audio"] = packed.read_meta(Path(cfg.data))["fingerprint"]
    if cfg.model is not None:
        told["model"] = runs.weights_sha256(local_model(cfg.model, cfg.revision))
    return told


def _kept(folder: Path, made_of: dict[str, Any]) -> dict[str, Any]:
    from lib.pretrain import units

    meta = units.read_meta(folder)
    there = meta.get("made_of", {})
    differ = [
        f"{k} {there.get(k)}, not {made_of[k]}" for k in made_of if there.get(k) != made_of[k]
    ]
    if differ:
        remedy = "choose another --name, or --force makes it again"
        raise UserError(f"{folder} was made with {'; '.join(differ)}; {remedy}")
    units.load(folder.parent.parent, folder.name)  # its sums are checked
    print(f"{folder} is there and unchanged")
    return meta


def _make(cfg: Config, folder: Path, made_of: dict[str, Any]) -> dict[str, Any]:
    from lib import speech, splits
    from lib.pretrain import units

    data = Path(cfg.data)
    features, frames, about = _features(cfg)
    rows = units.training_clips(data, asdict(cfg))
    _, clips = speech.whole(data)
    started = time.perf_counter()
    means, counts = units.fit(
        clips, rows, features, n_units=cfg.units, n_frames=cfg.frames, seed=cfg.seed
    )
    fitted = time.perf_counter()
    told = {"audio": made_of["audio"], "made_of": made_of, "features": about, **counts}
    told |= {"parts": {name: getattr(cfg, name) for name in units.PARTS}}
    with _cli.progress_bar("clips", label="units") as progress:
        meta = units.write(
            folder, clips, features, means=means, frames=frames, meta=told, progress=progress
        )
    seconds = {"fit": fitted - started, "write": time.perf_counter() - fitted}
    manifest = packed.read_manifest(data)
    track = units.load(data, cfg.name)
    meta["seconds"] = {name: round(value, 2) for name, value in seconds.items()}
    meta["purity"] = {
        what: units.purity(track, rows, labels)
        for what, labels in (
            ("label", None if cfg.split == "all" else splits.labels(manifest, cfg.labels)),
            ("speaker", manifest["speaker"]),
        )
        if labels is not None and labels.iloc[rows].replace("", None).nunique() > 1
    }
    files.write_sealed(folder / "meta.json", meta)
    _tell(folder, meta)
    return meta


def _features(cfg: Config) -> "tuple[Features, Frames, str]":
    """How clips are described, by what frames, and that in words."""
    import functools

    from lib.pretrain import features as units_features

    if cfg.model is None:
        return units_features.mfcc_rows, units_features.MFCC_FRAMES, "MFCC with two slopes"
    from lib import surgery
    from lib.device import pick
    from lib.predict import precision

    folder = local_model(cfg.model, cfg.revision)
    encoder = read_encoder_config(folder)
    if "conv_kernel" not in encoder:
        raise UserError(f"{folder} is no speech encoder")
    packed.refuse_short(Path(cfg.data), encoder)
    n_layers = int(encoder["num_hidden_layers"])
    layer = (n_layers + 1) // 2 if cfg.layer is None else cfg.layer
    if not 1 <= layer <= n_layers:
        raise UserError(f"--layer {layer}: the model has layers 1 to {n_layers}")
    device = pick(cfg.device)
    spec = Spec(encoder=encoder, labels=("none",), pooling="mean", read_layers=layer)
    model = surgery.build(spec, model=folder).to(device)
    dtype = precision(cfg.amp, device)
    features = functools.partial(units_features.layer_rows, model=model, dtype=dtype)
    return features, units_features.frames_of(encoder), f"layer {layer} of {folder}"


def _tell(folder: Path, meta: dict[str, Any]) -> None:
    sizes = sorted(meta["sizes"])
    n_empty = sizes.count(0)
    print(
        f"{folder}: {meta['n_frames']} frames by {meta['features']} in {meta['n_units']} units, "
        f"of {sizes[0]} to {sizes[-1]} frames, median {sizes[len(sizes) // 2]}, {n_empty} empty; "
        f"learnt from {meta['frames_fitted']} frames of {meta['clips_fitted']} training clips; "
        f"{meta['seconds']['fit']:.1f} s to learn, {meta['seconds']['write']:.1f} s to write"
    )
    for what, of in meta["purity"].items():
        print(
            f"purity by {what} {of['purity']:.3f} (any clustering {of['majority']:.3f}), "
            f"normalised mutual information {of['nmi']:.3f}"
        )


if __name__ == "__main__":
    _cli.run(main, Config)
