"""Toy models and data: the real architectures, small enough for milliseconds."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from lib.files import digest, sha256
from lib.loader import Batch
from lib.packed import COLUMNS, SAMPLE_RATE, PackedWriter
from lib.spec import Spec

torch.set_num_threads(1)  # toy tensors: threads would only wait for each other
VOCABULARY = 50
CONFIG = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 40,
}


@dataclass
class ToySplit:
    """Random token sequences; the label is whether the second token is in the upper half."""

    sequences: list[np.ndarray]
    labels: np.ndarray
    groups: np.ndarray
    flags: dict[str, np.ndarray] = field(default_factory=dict)
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    unit: int = 1

    def epoch(self, *, seed: int, epoch: int) -> "ToySplit":
        return self

    @property
    def lengths(self) -> np.ndarray:
        return np.array([len(sequence) for sequence in self.sequences])

    @property
    def ids(self) -> np.ndarray:
        return np.arange(len(self.sequences))

    def __len__(self) -> int:
        return len(self.sequences)

    def collate(self, rows: np.ndarray) -> Batch:
        width = max(len(self.sequences[row]) for row in rows)
        tokens = torch.zeros(len(rows), width, dtype=torch.long)
        mask = torch.zeros(len(rows), width, dtype=torch.long)
        for i, row in enumerate(rows):
            sequence = self.sequences[row]
            tokens[i, : len(sequence)] = torch.from_numpy(sequence)
            mask[i, : len(sequence)] = 1
        batch = {
            "input_ids": tokens,
            "labels": torch.from_numpy(self.labels[rows]),
            "ids": torch.from_numpy(rows),
        }
        return batch if bool(mask.all()) else batch | {"attention_mask": mask}


def toy_split(n: int, *, seed: int = 0, equal: bool = False) -> ToySplit:
    generator = np.random.default_rng(seed)
    lengths = [12] * n if equal else generator.integers(4, 20, n)
    sequences = [generator.integers(1, VOCABULARY, length) for length in lengths]
    labels = np.array([int(s[1] >= VOCABULARY // 2) for s in sequences], dtype=np.int64)
    return ToySplit(sequences, labels, np.arange(n) // 3)


def without_dropout(model: Path) -> Path:
    """A copy of a model folder whose config turns dropout off."""
    folder = model.parent / "no-dropout"
    folder.mkdir(exist_ok=True)
    config = json.loads((model / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes())
    return folder


@pytest.fixture(scope="session")
def toy_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a BERT of 3 layers, 4 heads, width 32, random weights."""
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(1)
    BertModel(BertConfig(**CONFIG), add_pooling_layer=False).save_pretrained(folder)
    return folder


@pytest.fixture
def toy_spec(toy_model: Path) -> Spec:
    from lib.spec import read_encoder_config

    return Spec(encoder=read_encoder_config(toy_model), labels=("low", "high"))


def pack(
    folder: Path,
    clips: list[np.ndarray],
    rows: pd.DataFrame,
    *,
    labels: Sequence[str] | None = None,
) -> Path:
    """A prepared folder of int16 clips; `rows` tells what there is to tell of each."""
    folder.mkdir(parents=True, exist_ok=True)
    with PackedWriter(folder) as writer:
        places = np.array([writer.add(clip) for clip in clips])
    lengths = np.array([len(clip) for clip in clips])
    frame = rows.assign(
        id=range(len(clips)),
        n_samples=lengths,
        seconds=lengths / SAMPLE_RATE,
        shard=places[:, 0],
        offset=places[:, 1],
        rms=[float(np.sqrt(np.mean(np.square(clip / 32768)))) for clip in clips],
    )
    for column in set(COLUMNS) - set(frame.columns):
        frame[column] = ""
    frame.to_csv(folder / "manifest.csv", index=False)
    files = {"manifest.csv": sha256(folder / "manifest.csv"), **writer.sha256}
    meta = {
        "format": 1,
        "kind": "speech",
        "name": folder.name,
        "sample": False,
        "corpus": None,
        "labels": list(labels or []) or sorted(set(rows["label_filename"])),
        "n": len(frame),
        "seconds": float(frame["seconds"].sum()),
        "made_of": {},
        "fingerprint": digest(files),
        "files": files,
        "skipped": [],
        "warnings": [],
    }
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder
