"""The three students: architectures, first weights, and one interface for training them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import (
    AlbertConfig,
    AlbertForPreTraining,
    BertConfig,
    BertForPreTraining,
    DistilBertConfig,
    DistilBertForMaskedLM,
    PreTrainedModel,
)

from fedtune.models.packed import PackedEncoder, pool

from .batches import Batch
from .vocabulary import NUM_PIECES, PAD

WIDTH = 128
# The spread of the first token embeddings: twice that of the position embeddings (0.02), so that
# what a token is outweighs where it stands.
_EMBEDDING_STD = 0.04


@dataclass(frozen=True)
class Encoded:
    """What a forward pass of a student yields.

    `hidden` (tokens, 128); `views`, the vectors that stand for the whole text, each
    (batch, 128); `pooled` (batch, 128), or None where the architecture has no pooler.
    """

    hidden: Tensor
    views: list[Tensor]
    pooled: Tensor | None


class Student(nn.Module):
    """A miniature with its masked-token head, and projections that are thrown away afterwards.

    One projection per view maps 128 dimensions to the teacher's 384.
    """

    def __init__(self, model: PreTrainedModel, target_width: int) -> None:
        super().__init__()
        self.model: Any = model
        self.kind: str = model.config.model_type
        self.projections = nn.ModuleList(nn.Linear(WIDTH, target_width) for _ in range(2))

    def encode(self, batch: Batch) -> Encoded:
        """Run the encoder, in bf16 products on fp32 weights: 1.8 times as fast as in fp32."""
        encoder = self.model.base_model
        packing = batch.packing
        hidden = PackedEncoder(encoder, torch.bfloat16)(batch.ids, packing, batch.types)
        first, mean = hidden[packing.starts], mean_of_texts(hidden, packing.lengths)
        if self.kind == "distilbert":
            return Encoded(hidden, [first, mean], None)
        pooled = pool(encoder, first)
        return Encoded(hidden, [pooled, mean], pooled)

    def token_logits(self, hidden: Tensor) -> Tensor:
        """Scores of all pieces for `hidden` (positions, 128): (positions, 8000)."""
        model = self.model
        if self.kind == "bert":
            logits: Tensor = model.cls.predictions(hidden)
        elif self.kind == "albert":
            logits = model.predictions(hidden)
        else:
            transformed = model.activation(model.vocab_transform(hidden))
            logits = model.vocab_projector(model.vocab_layer_norm(transformed))
        return logits

    def order_logits(self, pooled: Tensor) -> Tensor:
        """Scores (batch, 2) of "in order" and "not" for pooled vectors (batch, 128)."""
        head = self.model.cls.seq_relationship if self.kind == "bert" else self.model.sop_classifier
        logits: Tensor = head(pooled)
        return logits

    def sentence_cosines(self, views: list[Tensor], targets: Tensor) -> Tensor:
        """Cosine of each projected view with the teacher's unit embedding: (views, batch)."""
        return torch.stack(
            [
                nn.functional.cosine_similarity(projection(view).float(), targets, dim=-1)
                for projection, view in zip(self.projections, views, strict=True)
            ]
        )


def mean_of_texts(hidden: Tensor, lengths: Tensor) -> Tensor:
    """Average `hidden` (tokens, width) over the tokens of each of the texts of `lengths`."""
    text = torch.arange(len(lengths)).repeat_interleave(lengths)
    sums = hidden.new_zeros(len(lengths), hidden.shape[1]).index_add(0, text, hidden)
    return sums / lengths[:, None]


def principal_components(vectors: NDArray[np.float32], width: int) -> Tensor:
    """Project `vectors` (pieces, 384) on their first `width` principal axes, spread 0.04."""
    centred = vectors - vectors.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    projected = centred @ axes[:width].T
    return torch.from_numpy(projected * (_EMBEDDING_STD / projected.std()))


def _start_embeddings(embedding: nn.Embedding, vectors: NDArray[np.float32]) -> None:
    with torch.no_grad():
        embedding.weight.copy_(principal_components(vectors, embedding.embedding_dim))
        embedding.weight[PAD] = 0.0


def new_bert(vectors: NDArray[np.float32]) -> BertForPreTraining:
    """mini-bert: 4 layers, width 128, 2 heads; token embeddings from the teacher's `vectors`."""
    config = BertConfig(
        vocab_size=NUM_PIECES,
        hidden_size=WIDTH,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=4 * WIDTH,
        pad_token_id=PAD,
    )
    model = BertForPreTraining(config)
    _start_embeddings(model.bert.embeddings.word_embeddings, vectors)
    return model


def new_albert(vectors: NDArray[np.float32]) -> AlbertForPreTraining:
    """mini-albert: one layer applied 4 times, width 128, embeddings of width 64.

    Dropout 0.1 everywhere, as in mini-bert and ALBERT base v1 (v2 has none inside the encoder),
    so that the two differ in what ALBERT is about and in nothing else.
    """
    config = AlbertConfig(
        vocab_size=NUM_PIECES,
        embedding_size=WIDTH // 2,
        hidden_size=WIDTH,
        num_hidden_layers=4,
        num_hidden_groups=1,
        num_attention_heads=2,
        intermediate_size=4 * WIDTH,
        hidden_act="gelu",
        hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.1,
        classifier_dropout_prob=0.1,
        pad_token_id=PAD,
        bos_token_id=2,
        eos_token_id=3,
    )
    model = AlbertForPreTraining(config)
    _start_embeddings(model.albert.embeddings.word_embeddings, vectors)
    return model


def new_distilbert(bert: BertForPreTraining) -> DistilBertForMaskedLM:
    """mini-distilbert: embeddings, layers 1 and 3 and masked-token head copied from `bert`."""
    config = DistilBertConfig(
        vocab_size=NUM_PIECES,
        dim=WIDTH,
        hidden_dim=4 * WIDTH,
        n_layers=2,
        n_heads=2,
        pad_token_id=PAD,
    )
    model = DistilBertForMaskedLM(config)
    source = bert.state_dict()
    names = {
        "embeddings.word_embeddings.weight": "embeddings.word_embeddings.weight",
        "embeddings.position_embeddings.weight": "embeddings.position_embeddings.weight",
        "embeddings.LayerNorm.": "embeddings.LayerNorm.",
    }
    layer_names = {
        "attention.q_lin.": "attention.self.query.",
        "attention.k_lin.": "attention.self.key.",
        "attention.v_lin.": "attention.self.value.",
        "attention.out_lin.": "attention.output.dense.",
        "sa_layer_norm.": "attention.output.LayerNorm.",
        "ffn.lin1.": "intermediate.dense.",
        "ffn.lin2.": "output.dense.",
        "output_layer_norm.": "output.LayerNorm.",
    }
    for to, index in ((0, 0), (1, 2)):
        for ours, theirs in layer_names.items():
            names[f"transformer.layer.{to}.{ours}"] = f"encoder.layer.{index}.{theirs}"
    pairs = {f"distilbert.{ours}": f"bert.{theirs}" for ours, theirs in names.items()}
    pairs["vocab_transform."] = "cls.predictions.transform.dense."
    pairs["vocab_layer_norm."] = "cls.predictions.transform.LayerNorm."
    pairs["vocab_projector.bias"] = "cls.predictions.bias"
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            ours = next(prefix for prefix in pairs if name.startswith(prefix))
            parameter.copy_(source[pairs[ours] + name.removeprefix(ours)])
        # BERT adds the first segment's embedding to every token; DistilBERT has no segments.
        segment = source["bert.embeddings.token_type_embeddings.weight"][0]
        model.distilbert.embeddings.position_embeddings.weight.add_(segment)
    return model
