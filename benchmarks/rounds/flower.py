"""Flower's simulation engine: the message API, FedAvg, Ray.

As many clients train at a time as there are threads, each with one. A worker process keeps its
model from client to client, which saves Flower the loading that its tutorials do for each.
Memory is that of the server's process and of the workers; Ray's own processes are not counted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import Any

import flwr
import ray
import torch
from common import Turns, Work, arguments, open_work, peak_mb, save_parameters, shared_model
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

client_app = ClientApp()


@client_app.train()
def train(message: Message, context: Context) -> Message:
    """One client's round, in a worker process of Ray."""
    torch.set_num_threads(1)
    config, client = message.content["config"], int(context.node_config["partition-id"])
    work, model = open_work(config["work"]), shared_model(config["work"])
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=work.learning_rate)
    for batch in work.loader(int(config["server-round"]), client):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    metrics = {"num-examples": work.sizes[client], "pid": os.getpid(), "peak-mb": peak_mb()}
    content = {"arrays": ArrayRecord(model.state_dict()), "metrics": MetricRecord(metrics)}
    return Message(content=RecordDict(content), reply_to=message)


class TurnByTurn(FedAvg):
    """FedAvg over all clients that waits for its turn before every round."""

    def __init__(self, work: Work, turns: Turns):
        everyone = work.num_clients
        super().__init__(
            fraction_train=1.0,
            fraction_evaluate=0.0,
            min_train_nodes=everyone,
            min_available_nodes=everyone,
            weighted_by_key="num-examples",
        )
        self.everyone, self.turns = everyone, turns
        self.workers_mb: dict[int, float] = {}

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        if server_round == 1:
            while not ray.is_initialized():  # Ray starts beside this thread
                time.sleep(0.1)
            self.turns.ready(f"flwr {flwr.__version__}, ray {ray.__version__}")
        self.turns.wait()
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Any:
        replies = list(replies)
        failed = [reply.error.reason for reply in replies if reply.has_error()]
        if failed or len(replies) != self.everyone:
            raise RuntimeError(f"{len(replies)} of {self.everyone} clients replied; {failed[:1]}")
        mean = super().aggregate_train(server_round, replies)
        self.turns.done()
        for reply in replies:
            metrics = reply.content["metrics"]
            self.workers_mb[metrics["pid"]] = metrics["peak-mb"]
        return mean


def main() -> None:
    """Play all rounds."""
    asked, turns = arguments(), Turns()
    work = open_work(asked.work)
    torch.set_num_threads(1)
    strategy = TurnByTurn(work, turns)
    server_app = ServerApp()

    @server_app.main()
    def serve(grid: Grid, context: Context) -> None:
        result = strategy.start(
            grid=grid,
            initial_arrays=ArrayRecord(work.load_model().state_dict()),
            num_rounds=work.num_rounds,
            train_config=ConfigRecord({"work": asked.work}),
        )
        save_parameters(asked.params, result.arrays.to_torch_state_dict())

    run_simulation(
        server_app=server_app,
        client_app=client_app,
        num_supernodes=work.num_clients,
        backend_config={
            "init_args": {"num_cpus": work.threads},
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        },
    )
    turns.finish(peak_mb() + sum(strategy.workers_mb.values()))


if __name__ == "__main__":
    main()
