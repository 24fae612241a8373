"""fedtune's own round. It draws its batches itself, from the seed that the given ones came from."""

from __future__ import annotations

import torch
from common import Turns, arguments, open_work, play
from torch import Tensor

import fedtune
from fedtune.data.batches import DeviceSplit
from fedtune.data.token_arrays import Split
from fedtune.federated.clients import ModelClients
from fedtune.federated.flat import FlatModel
from fedtune.federated.local import LocalTraining
from fedtune.federated.round import federated_round
from fedtune.federated.strategy import FedAvg, Server


def main() -> None:
    """Play all rounds."""
    asked, turns = arguments(), Turns()
    work = open_work(asked.work)
    torch.set_num_threads(work.threads)
    flat = FlatModel(work.load_model(), asked.precision)
    data = DeviceSplit(
        Split(work.texts.token_ids, work.texts.offsets, work.texts.labels),
        num_classes=work.num_classes,
        pad_token_id=work.pad_token_id,
        pad_to=None,
        device=torch.device("cpu"),
    )
    examples = torch.split(torch.from_numpy(work.arrays["clients"]), work.sizes)
    clients = ModelClients(flat, data, examples, LocalTraining(**work.recipe))
    server = flat.values.clone()

    def one_round(round_num: int) -> None:
        everybody = range(len(examples))
        after, _ = federated_round(Server(server), FedAvg(), clients, everybody, round_num)
        server.copy_(after.params)

    def state() -> dict[str, Tensor]:
        shapes = {name: p.shape for name, p in flat.model.named_parameters()}
        return {name: server[part].view(shapes[name]) for name, part in flat.slices.items()}

    play(asked, f"{fedtune.__version__}, {asked.precision}", one_round, state, turns)


if __name__ == "__main__":
    main()
