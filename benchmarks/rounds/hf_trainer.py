"""A Hugging Face Trainer per client and round; averaging as in the hand-written loop.

Everything that is not training is off. What remains is the Trainer's own: `train` begins with a
full garbage collection, which takes a quarter of a second however small the model is.
"""

from __future__ import annotations

import copy
from typing import Any

import accelerate
import torch
import transformers
from common import Turns, Work, arguments, open_work, play, weighted_mean
from torch import Tensor
from transformers import Trainer, TrainingArguments


class GivenBatches(Trainer):
    """A Trainer that is given its DataLoader.

    The batches of all local epochs are one pass over it.
    """

    def __init__(self, loader: Any, **settings: Any):
        super().__init__(train_dataset=loader.dataset, **settings)
        self._loader = loader

    def get_train_dataloader(self) -> Any:
        return self._loader


def settings_of(work: Work) -> TrainingArguments:
    """Plain SGD at a constant rate, and nothing besides training."""
    return TrainingArguments(
        output_dir=str(work.folder / "trainer"),
        num_train_epochs=1,
        per_device_train_batch_size=work.batch_size,
        optim="sgd",
        learning_rate=work.learning_rate,
        lr_scheduler_type="constant",
        max_grad_norm=0,
        weight_decay=0,
        use_cpu=True,
        dataloader_num_workers=0,
        disable_tqdm=True,
        logging_strategy="no",
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
    )


def main() -> None:
    """Play all rounds."""
    asked, turns = arguments(), Turns()
    work = open_work(asked.work)
    torch.set_num_threads(work.threads)
    server = work.load_model()
    settings = settings_of(work)

    def one_round(round_num: int) -> None:
        states: list[dict[str, Tensor]] = []
        for client in range(work.num_clients):
            model = copy.deepcopy(server)
            GivenBatches(work.loader(round_num, client), model=model, args=settings).train()
            states.append(model.state_dict())
        server.load_state_dict(weighted_mean(states, work.sizes))

    version = f"transformers {transformers.__version__}, accelerate {accelerate.__version__}"
    play(asked, version, one_round, server.state_dict, turns)


if __name__ == "__main__":
    main()
