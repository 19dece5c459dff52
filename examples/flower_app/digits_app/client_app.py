"""What every client does: two lines more than in an app that cannot forget."""

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from . import task

app = ClientApp()


def prepared(message: Message, context: Context) -> tuple[task.Net, task.Data, int]:
    """Return the net with the server's weights, the client's data and its number."""
    torch.set_num_threads(1)
    partition = int(context.node_config["partition-id"])
    net = task.Net()
    net.load_state_dict(message.content["arrays"].to_torch_state_dict())
    return net, task.load_data(partition, int(context.node_config["num-partitions"])), partition


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train from the server's model."""
    net, data, partition = prepared(message, context)
    config = message.content["config"]
    seed = 1000 * config["server-round"] + partition  # so that retraining repeats it
    loss = task.train(net, data, config["local-epochs"], config["lr"], seed)
    metrics = {
        "train_loss": loss,
        "num-examples": len(data[1]),
        "partition-id": partition,  # the first line: who this client is
    }
    content = {"arrays": ArrayRecord(net.state_dict()), "metrics": MetricRecord(metrics)}
    return Message(RecordDict(content), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Evaluate the server's model."""
    net, data, _ = prepared(message, context)
    loss, accuracy = task.test(net, data)
    metrics = MetricRecord({"loss": loss, "accuracy": accuracy, "num-examples": len(data[1])})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
