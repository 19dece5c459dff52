"""The server: the strategy is wrapped in `Unlearning`, and all else is as in any Flower app."""

from pathlib import Path

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from fedunlearn.flower import Unlearning
from strategies.federaser import FedEraser
from strategies.finetune import FineTune
from strategies.retrain import Retrain

from . import task

METHODS = {"retrain": Retrain(), "federaser": FedEraser(interval=1), "finetune": FineTune(2)}

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train, let a client leave, and go on."""
    asked = context.run_config
    torch.manual_seed(0)
    arrays = ArrayRecord(task.Net().state_dict())
    strategy = Unlearning(
        FedAvg(),
        METHODS[asked["method"]],
        {asked["after"]: [asked["leaver"]]},
        clients=asked["clients"],
    )
    result = strategy.start(
        grid,
        arrays,
        asked["num-server-rounds"],
        train_config=ConfigRecord({name: asked[name] for name in ("lr", "local-epochs")}),
        evaluate_fn=lambda key, arrays: evaluated(arrays, asked),
    )
    for key, metrics in result.evaluate_metrics_serverapp.items():
        moment = strategy.curve[key].moment
        said = ", ".join(f"{name} {value:.3f}" for name, value in metrics.items())
        print(f"model {key}, {moment.phase} {moment.round}: {said}")
    if asked["model"]:
        kept = {name: array.numpy() for name, array in result.arrays.items()}
        np.savez(Path(asked["model"]), **kept)
        print(f"The last model lies in {asked['model']}")


def evaluated(arrays: ArrayRecord, asked: dict) -> MetricRecord:
    """Return the accuracy on records that nobody has, and on those of the leaver."""
    net = task.Net()
    net.load_state_dict(arrays.to_torch_state_dict())
    images, labels = task.digits()
    loss, accuracy = task.test(net, (images[: task.TEST], labels[: task.TEST]))
    _, leaver = task.test(net, task.load_data(asked["leaver"], asked["clients"]))
    return MetricRecord({"loss": loss, "accuracy": accuracy, "leaver_accuracy": leaver})
