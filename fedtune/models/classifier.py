"""Loading a sequence classifier whose head is drawn from the trial's seed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fedtune.errors import BadInput
from fedtune.garbage import uncollected
from fedtune.models.configuration import (
    architecture_fault,
    head_settings,
    kind_of,
    of_the_model,
    read_config,
)
from fedtune.models.heads import Head, exchange
from fedtune.models.weights import num_parameters, shapes
from fedtune.paths import cache_root
from fedtune.randomness import seeded

#: Classes whose weights were trained without labels; any other class has a head for its own task.
_PRETRAINING = re.compile("Model$|MaskedLM|CausalLM|LMHead|PreTraining|ConditionalGeneration")
#: Layers outside the base model that pretraining trains: ModernBERT's, which its classifier uses.
_PRETRAINED_HEAD = "head."
#: A configuration may describe so many more parameters than twice those of the file.
_SLACK = 100_000_000


def load_classifier(
    directory: Path,
    *,
    label_names: Sequence[str],
    seed: int,
    pad_token_id: int | None = None,
    head: Head = "own",
) -> Any:
    """A ``PreTrainedModel`` with an output per label, pretrained where its file is.

    What the file lacks, and the head of a former task, is drawn from ``seed``; the configuration
    says of the head what is true of the new one. ``pad_token_id`` is the tokenizer's, for a
    configuration that names none. ``head`` is another one in place of the architecture's own (see
    :mod:`fedtune.models.heads`).

    Always fp32, whatever the file holds: a checkpoint in half precision would load as such, and
    steps of 2e-5 would vanish in it. Raises BadInput where the architecture has no sequence
    classifier, where its weights cannot be read or are not finite, where the file lacks weights of
    the encoder (a pooler aside), or where the model keeps running statistics (those are no
    parameters, so averaging would leave them behind).
    """
    from transformers import AutoModelForSequenceClassification

    config = _config(directory, label_names, pad_token_id)
    drawn_anew(directory, len(label_names))  # refuses what would not fit into memory
    try:
        with uncollected(), seeded(seed, "new parameters"), quiet_transformers():
            model, info = AutoModelForSequenceClassification.from_pretrained(
                directory,
                config=config,
                dtype=torch.float32,
                attn_implementation=_attention(directory),
                ignore_mismatched_sizes=True,  # a fine-tuned checkpoint's own head is replaced
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
    except Exception as error:  # files by strangers: whatever they make transformers raise
        raise _unusable(directory, "cannot be loaded", error) from None
    for name, parameter in model.named_parameters():
        if not bool(parameter.isfinite().all()):
            raise BadInput.of("model", str(directory), f"{name} has values that are not finite")
    new = {*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])}
    encoder = f"{model.base_model_prefix}."
    untrained = sorted(n for n in new if n.startswith(encoder) and ".pooler." not in n)
    if untrained:
        raise BadInput.of(
            "model",
            str(directory),
            f"its weights and its config.json do not belong together: {len(untrained)} of the "
            f"encoder's tensors are missing or of another shape, such as {untrained[0]}",
        )
    for name, module in model.named_modules():
        if getattr(module, "track_running_stats", False):
            raise BadInput.of(
                "model",
                str(directory),
                f"{name} keeps running statistics, which FedAvg cannot average",
            )
    drawn = _new(_outside(model), new, had_other_task=_had_other_task(directory))
    # What a head adds comes last, so that the rest of it is drawn as without.
    model.drawn_anew = tuple(dict.fromkeys([*drawn, *exchange(model, head)]))
    draw_head(model, seed)
    return model


def drawn_anew(directory: Path, num_classes: int = 2) -> tuple[str, ...]:
    """The layers that :func:`load_classifier` draws anew, by the headers of the weights alone.

    Raises BadInput where the configuration describes a model far larger than its weights, which
    would fill the memory before its shapes are compared with theirs, and where it could not be
    saved, as the first commit does.
    """
    known = [version("transformers"), read_config(directory), [*shapes(directory).items()]]
    key = hashlib.sha256(json.dumps([*known, num_classes], sort_keys=True).encode()).hexdigest()
    entry = cache_root() / "models" / f"{key}.json"  # to build a model takes seconds of imports
    with suppress(OSError, ValueError, TypeError):
        return tuple(json.loads(entry.read_text()))
    layers = _drawn_anew(directory, num_classes)
    with suppress(OSError):  # a cache that cannot be written is none
        entry.parent.mkdir(parents=True, exist_ok=True)
        unfinished = entry.with_name(f".{entry.name}.{os.getpid()}")
        unfinished.write_text(json.dumps(layers))
        unfinished.replace(entry)
    return layers


def _drawn_anew(directory: Path, num_classes: int) -> tuple[str, ...]:
    from transformers import AutoModelForSequenceClassification

    config = _config(directory, [str(label) for label in range(num_classes)], None)
    try:
        # shapes without numbers
        with torch.device("meta"), seeded("shapes"), quiet_transformers():
            model = AutoModelForSequenceClassification.from_config(
                config, dtype=torch.float32, attn_implementation=_attention(directory)
            )
    except Exception as error:
        raise _unusable(directory, "config.json describes no model", error) from None
    try:
        with tempfile.TemporaryDirectory() as folder, quiet_transformers():
            model.config.save_pretrained(folder)
    except Exception as error:
        raise _unusable(directory, "config.json cannot be saved again", error) from None
    described = sum(parameter.numel() for parameter in model.parameters())
    if described > 2 * num_parameters(directory) + _SLACK:
        raise BadInput.of(
            "model",
            str(directory),
            f"its weights and its config.json do not belong together: {num_parameters(directory):,}"
            f" parameters are there, and {described:,} described",
        )
    prefix, found = f"{model.base_model_prefix}.", shapes(directory)
    outside = _outside(model)
    poolers = [n for n, _ in model.named_parameters() if n.startswith(prefix) and ".pooler." in n]
    missing = {n for n in outside if found.get(n) != tuple(model.get_parameter(n).shape)}
    drawn = _new(outside, missing, had_other_task=_had_other_task(directory))
    absent = [n for n in poolers if not {n, n.removeprefix(prefix)} & found.keys()]
    return tuple(dict.fromkeys(name.rpartition(".")[0] for name in (*absent, *drawn)))


def _config(directory: Path, label_names: Sequence[str], pad_token_id: int | None) -> Any:
    """The configuration of a classifier of these labels; nothing of a former head is left in it."""
    from transformers import CONFIG_MAPPING

    fault = architecture_fault(directory)
    if fault:
        raise BadInput.of("model", str(directory), f"is no sequence classifier: {fault}")
    values = of_the_model(read_config(directory))
    try:
        with quiet_transformers():
            config = CONFIG_MAPPING[kind_of(values)].from_dict(values, **head_settings(label_names))
    except Exception as error:
        raise _unusable(directory, "config.json cannot be used", error) from None
    if "bird" in config.model_type:
        # The other one is drawn at random, and which one a text gets depends on those before it.
        config.attention_type = "original_full"
    text = config.get_text_config()
    own, size = text.pad_token_id, getattr(text, "vocab_size", None)
    if not (isinstance(own, int) and 0 <= own < (size or own + 1)):
        config.pad_token_id = text.pad_token_id = pad_token_id
    return config


def _attention(directory: Path) -> str | None:
    """PyTorch's own attention where the architecture has it; None, transformers' choice, else."""
    import transformers
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as KNOWN,
    )

    kind = kind_of(read_config(directory))
    return "sdpa" if getattr(transformers, KNOWN[str(kind)])._supports_sdpa else None


def _had_other_task(directory: Path) -> bool:
    architectures = read_config(directory).get("architectures")
    names = architectures if isinstance(architectures, list) and architectures else [""]
    return not all(_PRETRAINING.search(str(name)) for name in names)


def _unusable(directory: Path, what: str, error: Exception) -> BadInput:
    said = " ".join(str(error).split())[:200] or type(error).__name__
    return BadInput.of("model", str(directory), f"{what}: {said}")


def _outside(model: Any) -> list[str]:
    prefix = f"{model.base_model_prefix}."
    return [name for name, _ in model.named_parameters() if not name.startswith(prefix)]


def _new(outside: Iterable[str], lacking: set[str], *, had_other_task: bool) -> tuple[str, ...]:
    """Of the parameters ``outside`` the base model those to be drawn: what the file lacks, and all
    of another task's head but what was pretrained.
    """
    return tuple(
        name
        for name in outside
        if name in lacking or (had_other_task and not name.startswith(_PRETRAINED_HEAD))
    )


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars, and no report that the head is new, which is what is asked for."""
    from transformers import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def head_names(model: Any) -> list[str]:
    """Names of the parameters that are new in fine-tuning: what :func:`load_classifier` drew."""
    return list(model.drawn_anew)


def draw_head(model: Any, *key: int | str) -> None:
    """Draw the head's parameters anew, in place, by the architecture's own rule, from ``key``."""
    names = head_names(model)
    parameters = dict(model.named_parameters())
    modules = dict.fromkeys(name.rpartition(".")[0] for name in names)
    with seeded("head", *key), torch.no_grad():
        drawn: dict[str, Tensor] = {}
        for name in names:  # on the CPU, so that every device starts from the same head
            parameter = parameters[name]
            drawn[name] = torch.empty(parameter.shape, dtype=parameter.dtype)
        for module_name in modules:
            _initialize(model, model.get_submodule(module_name), module_name, drawn)
        for name in names:
            parameters[name].data.copy_(drawn[name])


def _initialize(model: Any, module: nn.Module, module_name: str, drawn: dict[str, Tensor]) -> None:
    """Fill the tensors of ``drawn`` that belong to ``module`` as a new model of this kind would."""
    kept = dict(module.named_parameters(recurse=False))
    for name, parameter in kept.items():
        # fresh tensors: loaded ones carry a mark that forbids initialising them
        fresh = drawn.get(f"{module_name}.{name}".removeprefix("."))
        setattr(module, name, nn.Parameter(torch.empty_like(parameter) if fresh is None else fresh))
    model._init_weights(module)
    for name, parameter in kept.items():
        setattr(module, name, parameter)
