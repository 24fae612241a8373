"""The hand-written loop: a copy of the model per client, a list of state dicts, their mean.

With ``--precision bf16`` forward passes are under PyTorch's autocast.
"""

from __future__ import annotations

import copy

import torch
import transformers
from common import Turns, arguments, open_work, play, weighted_mean


def main() -> None:
    """Play all rounds."""
    asked, turns = arguments(), Turns()
    work = open_work(asked.work)
    torch.set_num_threads(work.threads)
    torch.manual_seed(0)
    server = work.load_model()

    def one_round(round_num: int) -> None:
        states = []
        for client in range(work.num_clients):
            model = copy.deepcopy(server)
            model.train()
            optimizer = torch.optim.SGD(model.parameters(), lr=work.learning_rate)
            for batch in work.loader(round_num, client):
                optimizer.zero_grad()
                with torch.autocast("cpu", torch.bfloat16, enabled=asked.precision == "bf16"):
                    loss = model(**batch).loss
                loss.backward()
                optimizer.step()
            states.append(model.state_dict())
        server.load_state_dict(weighted_mean(states, work.sizes))

    version = f"transformers {transformers.__version__}, {asked.precision}"
    play(asked, version, one_round, server.state_dict, turns)


if __name__ == "__main__":
    main()
