"""What was run: the stages of each model, and why."""

from .objectives import Weights
from .train import Stage

# First the sentence embeddings alone: masked language modelling from scratch would spend two
# hours of two cores on the frequencies of words. Then both together, so that what the pooler
# holds survives, with the order task of the original in 30 % of the steps. Dropout is off once
# tokens are masked: a few hundred steps under-fit, and it costs a quarter of the time. Batches are
# smaller there, since how soon a model sees more than frequencies is a matter of steps.
_EMBEDDINGS = Stage("embeddings", 1500, Weights(sentence=1.0), masked=False, peak_rate=2e-3)
_LANGUAGE = Stage(
    "language",
    6000,
    Weights(sentence=10.0, tokens=1.0, order=0.5),
    masked=True,
    pair_share=0.3,
    dropout=False,
    tokens=2048,
)
# DistilBERT's three terms with its authors' weights (5 soft targets, 2 masked tokens, 1 cosine of
# hidden states), and the sentence term that the two larger models have. No order task: no pooler.
_DISTILLATION = Stage(
    "distillation",
    4000,
    Weights(sentence=10.0, tokens=2.0, soft=5.0, hidden=1.0),
    masked=True,
    dropout=False,
    tokens=2048,
)

STAGES: dict[str, tuple[Stage, ...]] = {
    "mini-bert": (_EMBEDDINGS, _LANGUAGE),
    "mini-albert": (_EMBEDDINGS, _LANGUAGE),
    "mini-distilbert": (_DISTILLATION,),
}
