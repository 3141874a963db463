"""What each classic network added, costs and reaches: trained here, for the same time each.

    python benchmarks/networks.py --out outputs/networks --minutes 3

Trains every network on Fashion-MNIST, or goes on where it was stopped, and writes the table of
docs/handbook/networks.md between its two marks; nothing in it is typed by hand but what the paper
says.
"""

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from eyehand.inspection.costs import measure_costs
from eyehand.inspection.gradient import SmoothRun
from eyehand.models.registry import NETWORKS, build_network
from eyehand.runs.classify import ClassifyConfig, classify
from eyehand.training.loop import TrainConfig

PAGE = Path(__file__).parents[1] / "docs" / "handbook" / "networks.md"
MARK, END = "<!-- table: benchmarks/networks.py -->", "<!-- end of table -->"
HEAD = [
    "network", "year", "what it added", "parameters, M", "multiply-adds, G", "picture, px",
    "receptive field, px", "Fashion-MNIST, % (95 %)", "read at, px", "steps", "learning rate",
]  # fmt: skip


class Published(NamedTuple):
    """What a network's paper says."""

    year: int
    added: str
    learning_rate: float = 1e-3
    """Of the training here. Deep networks without normalization do not begin to learn at 1e-3."""


PUBLISHED = {
    "lenet5": Published(1998, "convolution and sub-sampling, trained end to end"),
    "alexnet": Published(2012, "ReLU, dropout, overlapping pooling, two GPUs"),
    "vgg11": Published(2015, "depth by stacks of 3x3 kernels"),
    "vgg13": Published(2015, "two convolutions in every stage"),
    "vgg16": Published(2015, "three in the later stages", learning_rate=3e-4),
    "vgg19": Published(2015, "four in the later stages", learning_rate=3e-4),
    "googlenet": Published(2015, "parallel kernels, 1x1 bottlenecks"),
    "googlenet-auxiliary": Published(2015, "two more classifiers half-way, in training"),
    "googlenet-batch-norm": Published(2015, "the same with batch normalization"),
    "spp-net": Published(2014, "a pyramid of pools: any size of picture"),
    "resnet18": Published(2016, "identity shortcuts"),
    "resnet34": Published(2016, "the same, deeper"),
    "resnet50": Published(2016, "bottleneck blocks"),
    "resnet101": Published(2016, "the same, deeper"),
    "resnet152": Published(2016, "the same, deeper"),
    "mobilenet": Published(2017, "depthwise separable convolutions"),
    "efficientnet-lite0": Published(2020, "searched inverted bottlenecks, for small devices"),
    "vit-b-16": Published(2021, "attention over patches, no convolution after the first"),
    "vit-tiny": Published(2021, "the same, small (DeiT-Ti)"),
}


class LastMap(nn.Module):
    """A network up to its last feature map."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Return the last map."""
        return self.network.maps(image)[-1]


def describe(name: str) -> list[str]:
    """Return what a network as published costs and sees: parameters, multiply-adds, field."""
    (image,) = NETWORKS[name].example(torch.Generator())
    network = build_network(name).eval()
    costs = measure_costs(network, (image,), repeats=1)
    field = field_of_last_map(LastMap(network), image.shape[1])
    millions, billions = costs.parameters / 1e6, costs.multiply_adds / 1e9
    return [f"{millions:.2f}", f"{billions:.2f}", str(image.shape[-1]), field]


def field_of_last_map(network: LastMap, channels: int) -> str:
    """Return the receptive field of a square kernel's middle cell, asked on a long strip."""
    strip, middle = torch.zeros(1, channels, 64, 4096), 2048 // network.network.strides[-1]
    try:
        pixels = SmoothRun(network, strip).support("", (0, slice(None), 0, middle))
    except (RuntimeError, ValueError):
        return "all"  # attention, which reads pictures of one size
    seen = pixels.any(0).nonzero()
    size = int(seen[-1] - seen[0]) + 1
    return "all" if size == strip.shape[-1] else str(size)


def finished(file: Path, config: ClassifyConfig) -> dict[str, Any] | None:
    """Return the results of a run that is as long as asked, on the pictures that are asked for."""
    if not file.is_file():
        return None
    found = json.loads(file.read_text(encoding="utf-8"))
    long_enough = found["seconds"] >= 60 * (config.training.minutes or 0)
    return found if long_enough and found["pictures"]["name"] == config.data else None


def write_table(page: Path, mark: str, note: str, head: list[str], rows: list[list[str]]) -> None:
    """Put a note and a table between a page's two marks."""
    lines = [head, ["---"] * len(head), *rows]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    before, rest = page.read_text(encoding="utf-8").split(mark)
    after = rest.split(END)[1]
    page.write_text(f"{before}{mark}\n{note}\n\n{table}\n{END}{after}", encoding="utf-8")


def main() -> None:
    """Train what is not trained, write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--minutes", type=float, default=3.0, help="of every training")
    options = parser.parse_args()
    rows = []
    for name, paper in PUBLISHED.items():
        out = options.out / name
        training = TrainConfig(minutes=options.minutes, learning_rate=paper.learning_rate)
        config = ClassifyConfig(training=training)
        found = finished(out / "results.json", config) or classify(name, config, out, resume=True)
        low, high = (100 * end for end in found["interval"])
        reached = f"{100 * found['accuracy']:.1f} ({low:.1f}-{high:.1f})"
        print(f"{name}: {reached}", flush=True)
        trained = [reached, str(found["network"]["image_size"]), f"{found['steps']:,}"]
        trained.append(f"{paper.learning_rate:g}")
        rows.append([f"`{name}`", str(paper.year), paper.added, *describe(name), *trained])
    note = (
        f"{options.minutes:g} minutes of training each on 2 cores by `eyehand classify`, one seed; "
        "right answers on the 10,000 test pictures, which no network was trained on, and their "
        "95 % Wilson interval."
    )
    write_table(PAGE, MARK, note, HEAD, rows)


if __name__ == "__main__":
    main()
