"""What the benchmark computes on: data and models, made where they are not there, and the jobs."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from lib import files
from lib.bench import warm
from lib.bench.data import speech_files, text_files
from lib.bench.ours import Job
from lib.bench.process import apart
from scripts import prepare_text, scratch_bert, scratch_hubert

BATCH = 32
WIDTHS = {"tiny": 64, "small": 128, "base": 768}
# Clips of train, validation and test.
CLIPS = {"speech-tiny": (96, 24, 48), "speech-base": (8, 4, 4), "quick": (48, 12, 24)}
CLIPS_ON_GPU = (1200, 200, 200)


def text(data: str, out: Path) -> str:
    """The folder of prepared text: the user's, or one made of generated rows."""
    if (Path(data) / "meta.json").is_file():
        return data
    return _generated(out, "text", long=True)


def _generated(out: Path, name: str, *, long: bool) -> str:
    raw = text_files(out / f"raw-{name}", long=long)
    made = prepare_text.Config(data=str(raw), name=name, out=str(out / "prepared"))
    return str(prepare_text.main(made))


def make(
    out: Path,
    *,
    data: str,
    size: str,
    n_rows: int,
    device: str,
    threads: int | None,
    quick: bool,
    cases: tuple[str, ...],
) -> dict[str, Job]:
    """The trainings that the chosen cases need, by name.

    Args:
        out: folder for what is made.
        data: prepared text.
        size: of the text encoder.
        n_rows: pairs of text to train on.
        device: to compute on; on a GPU encoders have the base size.
        threads: of torch; None for one a core.
        quick: fewer clips.
        cases: what was chosen.
    """
    gpu = device.startswith("cuda")
    whole = text_job(out, data, width=768 if gpu else WIDTHS[size], n_rows=n_rows, gpu=gpu)
    if Path(data).is_relative_to(out) and (gpu or size != "base"):
        whole = replace(whole, model=_warmed(out, whole, device=device, threads=threads))
    jobs = {
        "text": whole,
        "frozen": replace(whole, epochs=5),
        # The forward passes of a head alone are quick: more rows, as a corpus has.
        "head": replace(whole, epochs=5, n_train=2 * n_rows, n_validation=2 * whole.n_validation),
    }
    if "heads" in cases:
        how: dict[str, Any] = {"width": WIDTHS["base"], "layers": 1 if quick else 12}
        jobs["heads"] = text_job(out, data, n_rows=n_rows, gpu=gpu, **how)
    for case, kind in (("speech-tiny", "tiny"), ("speech-base", "base")):
        if case in cases:
            clips = CLIPS_ON_GPU if gpu else CLIPS["quick" if quick else case]
            jobs[case] = speech_job(out, "base" if kind == "base" else "tiny", clips, gpu=gpu)
    if "prepare" in cases:
        n = 10 if quick else 100
        folder = out / f"raw-speech-{30 * n}"
        manifest = speech_files(folder, sizes=(n - 4, 2, 2), copies=30)
        jobs["prepare"] = replace(whole, data=str(manifest))
    return jobs


def text_job(out: Path, data: str, *, width: int, n_rows: int, gpu: bool, layers: int = 12) -> Job:
    """A full fine-tuning on prepared text."""
    name = f"bert-{layers}-{width}-{files.digest(data)[:6]}"
    models = out / "models"
    if not (models / name / "source.json").is_file():
        sizes: dict[str, Any] = {"layers": layers, "width": width}
        scratch_bert.main(scratch_bert.Config(data=data, name=name, out=str(models), **sizes))
    return Job(
        data=data,
        model=str(models / name),
        n_train=n_rows,
        n_validation=max(32, n_rows // 5),
        epochs=3 if gpu else 2,
        batch_size=BATCH,
        learning_rate=3e-5 if gpu else 5e-4,
        out=str(out),
    )


def _warmed(out: Path, job: Job, *, device: str, threads: int | None) -> str:
    """A folder with a job's encoder once it has seen shorter rows of the same kind."""
    to = Path(f"{job.model}-warm")
    if not (to / "model.safetensors").is_file():
        short = _generated(out, "short-text", long=False)
        how: dict[str, Any] = {"data": short, "to": str(to), "device": device}
        found = apart(warm.warm, untrained=job.model, threads=threads, **how)
        print(f"{to}: trained on short rows; validation accuracy {found.accuracy:.2f}", flush=True)
    return str(to)


def speech_job(
    out: Path, size: Literal["tiny", "base"], clips: tuple[int, int, int], *, gpu: bool
) -> Job:
    """A fine-tuning on raw recordings, four clips a step as in the reference report."""
    models, name = out / "models", f"hubert-{size}"
    if not (models / name / "source.json").is_file():
        layers, width = (12, 768) if size == "base" else (4, 64)
        sizes: dict[str, Any] = {"layers": layers, "width": width, "conv": size}
        scratch_hubert.main(scratch_hubert.Config(name=name, out=models, **sizes))
    folder = out / "-".join(["raw-speech", *map(str, clips)])
    return Job(
        data=str(speech_files(folder, sizes=clips)),
        model=str(models / name),
        epochs=2 if size == "base" and not gpu else 4,
        batch_size=4,
        learning_rate=5e-5 if size == "base" else 1e-3,
        out=str(out),
    )
