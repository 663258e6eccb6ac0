"""A BERT of a few thousand weights that knows the words of a test: trains in milliseconds, and is a real model."""

from collections.abc import Iterable
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import BertConfig, BertModel, BertTokenizer

from retriever.quiet import quiet_transformers


def make_tiny_model(folder: Path, texts: Iterable[str], *, dropout: float = 0.0, seed: int = 0) -> Path:
    """Writes a sentence-transformers folder with three layers and 32 dimensions, random weights, and a word of the
    texts a token; returns its path."""
    plain = folder.with_name(f"{folder.name}-bert")
    plain.mkdir(parents=True)
    words = sorted({word for text in texts for word in text.lower().replace(",", " , ").replace(":", " : ").split()})
    vocabulary = plain / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]), encoding="utf-8")
    with quiet_transformers(), torch.random.fork_rng():
        torch.manual_seed(seed)
        config = BertConfig(
            vocab_size=len(words) + 5,
            hidden_size=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=64,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
            initializer_range=0.1,
        )
        BertModel(config, add_pooling_layer=False).save_pretrained(plain)
        BertTokenizer(str(vocabulary)).save_pretrained(plain)
        transformer = Transformer(str(plain), max_seq_length=48)
        model = SentenceTransformer(modules=[transformer, Pooling(32, pooling_mode="mean")])
        model.save(str(folder), create_model_card=False)
    return folder
