"""Untrained BERT encoders of any size, with a vocabulary of their own, as model folders."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unicodedata import normalize

from lib import files, made_model
from lib.errors import UserError

MADE_BY = "scratch-bert"
PIECE = r"[\w\u200c]+|[^\w\s\u200c]"  # a word, or a punctuation mark
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# The start of a model that is to compare two texts: see `encoder`.
SELF_LOGIT = 10.0
POSITION_SHARE = 0.15
TYPE_SHARE = 0.6


@dataclass(frozen=True, kw_only=True)
class Options:
    """What makes one untrained encoder differ from another.

    Attributes:
        layers: transformer layers.
        width: of the hidden states; the feed-forward part is four times as wide.
        heads: of attention; None takes 16 units a head, and 64 from a width of 256 on.
        vocab: word pieces at the most, the five special tokens included.
        positions: tokens of the longest input.
        seed: of the weights; equal options, seeds and texts give equal bytes.
    """

    layers: int = 4
    width: int = 64
    heads: int | None = None
    vocab: int = 8000
    positions: int = 512
    seed: int = 0


def configuration(options: Options) -> dict[str, Any]:
    """The fields of config.json in which the encoder differs from BERT-base, but for vocab_size.

    No dropout: a model this small that starts from nothing underfits. The weights' deviation is
    0.8 / sqrt(width), which keeps the size of what passes through; 0.02 is for a width of 768.

    Raises:
        UserError: if no encoder can have these sizes.
    """
    width, per_head = options.width, 16 if options.width < 256 else 64
    heads = max(1, width // per_head) if options.heads is None else options.heads
    if min(options.layers, width, heads) < 1 or width % heads:
        raise UserError(
            f"{options.layers} layers, width {width}, {heads} heads: give at least one layer, and "
            "a width that is a multiple of the heads"
        )
    if not 8 <= options.positions <= 4096:
        raise UserError(f"{options.positions} positions: give 8 to 4096")
    if not 100 <= options.vocab <= 200_000:
        raise UserError(f"a vocabulary of {options.vocab} pieces: give 100 to 200000")
    return {
        "hidden_size": width,
        "num_hidden_layers": options.layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
        "max_position_embeddings": options.positions,
        "initializer_range": round(0.8 / math.sqrt(width), 4),
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }


def encoder(options: Options, *, n_tokens: int) -> Any:
    """A BERT without pooler and with fresh weights, by which equal tokens attend to each other.

    Each layer's key projection starts equal to its query projection, and positions and token types
    start small beside the words; all else is random. A pair of sentences is compared from the first
    step on, which plain random weights take many passes over a small corpus to come to.
    The global random state of torch is left as it was.

    Source: Trockman and Kolter 2023, Mimetic initialization of self-attention layers (arXiv
    2305.09828), for the products of queries and keys.

    Raises:
        UserError: if no encoder can have these sizes.
    """
    import torch
    from transformers import BertConfig, BertModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    fields = configuration(options)
    config = BertConfig(vocab_size=n_tokens, **fields)
    per_head = options.width // fields["num_attention_heads"]
    # A token of unit variance then attends to itself with a logit of 10 before the softmax.
    deviation = math.sqrt(SELF_LOGIT / (options.width * math.sqrt(per_head)))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(options.seed)
        model = BertModel(config, add_pooling_layer=False)
        model.embeddings.position_embeddings.weight.mul_(POSITION_SHARE)
        model.embeddings.token_type_embeddings.weight.mul_(TYPE_SHARE)
        for layer in model.encoder.layer:
            attention = layer.attention.self
            attention.query.weight.normal_(std=deviation)
            attention.key.weight.copy_(attention.query.weight)
    return model


def vocabulary(texts: Sequence[str], *, size: int) -> list[str]:
    """Word pieces of texts: the special tokens, single letters, then what is most frequent.

    Pieces are whole words that occur twice and their endings of two to five letters, by how often
    they occur; among equals in alphabetical order, so that equal texts give equal pieces, which
    the trainers of the tokenizers library do not promise. The zero-width non-joiner is part of a
    word.

    Args:
        texts: of the training split.
        size: pieces at the most.
    """
    words = Counter(word for text in texts for word in re.findall(PIECE, normalize("NFC", text)))
    letters = sorted({letter for word in words for letter in word})
    alphabet = [*letters, *(f"##{letter}" for letter in letters)]
    counts: Counter[str] = Counter()
    for word, n in words.items():
        if n > 1 and len(word) > 1:
            counts[word] += n
        for length in range(2, min(6, len(word))):
            counts[f"##{word[-length:]}"] += n
    ranked = sorted(counts, key=lambda piece: (-counts[piece], piece))
    return [*SPECIAL, *alphabet, *ranked][:size]


def make(
    folder: Path, texts: Sequence[str], *, trained_on: str, options: Options, force: bool = False
) -> tuple[dict[str, Any], bool]:
    """What `folder`/source.json says, and whether the folder was there already, unchanged.

    The folder holds config.json, model.safetensors, tokenizer.json and tokenizer_config.json.

    Args:
        folder: the folder to make, whole or not at all.
        texts: of which the vocabulary is learnt.
        trained_on: fingerprint of the corpus they are from.
        options: the encoder.
        force: replace a folder that holds another untrained model.

    Raises:
        UserError: if no encoder can have these sizes, or the folder holds something else.
    """
    configuration(options)

    def write(stage: Path) -> None:
        from tokenizers import models

        pieces = vocabulary(texts, size=options.vocab)
        vocab = {piece: number for number, piece in enumerate(pieces)}
        tokenizer = _word_pieces(models.WordPiece(vocab, unk_token="[UNK]"))
        tokenizer.save(str(stage / "tokenizer.json"))
        files.write_json(stage / "tokenizer_config.json", _tokenizer_config(options))
        encoder(options, n_tokens=len(pieces)).save_pretrained(stage)

    told = asdict(options) | {"trained_on": trained_on}
    return made_model.make(folder, write, made_by=MADE_BY, options=told, force=force)


def _word_pieces(model: Any) -> Any:
    """A tokenizer for Persian: words and punctuation, pairs as BERT wants them."""
    from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(PIECE), behavior="removed", invert=True)
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, SPECIAL.index(name)) for name in ("[CLS]", "[SEP]")],
    )
    return tokenizer


def _tokenizer_config(options: Options) -> dict[str, Any]:
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": options.positions,
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        **dict(zip(names, SPECIAL, strict=True)),
    }
