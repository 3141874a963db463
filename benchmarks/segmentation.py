"""How well U-Net and FCN tell the pixels of robot scenes apart, after the same time each.

    python benchmarks/segmentation.py --out outputs/segmentation --minutes 5

Trains every dense network, or goes on where it was stopped, and writes the table of
docs/handbook/segmentation.md between its two marks, and the picture that the page shows.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from networks import write_table
from PIL import Image

from eyehand.envs.metaworld import MASK_CLASSES
from eyehand.models.registry import build_network, names_of
from eyehand.runs.segment import DRAWN, SegmentConfig, segment

DOCS = Path(__file__).parents[1] / "docs"
PAGE, PICTURE = DOCS / "handbook" / "segmentation.md", DOCS / "images" / "masks.png"
MARK = "<!-- table: benchmarks/segmentation.py -->"
HEAD = [
    "network", "parameters, M", "steps", "pixels right, %", "mean of classes, %",
    "mean IoU, %", "weighted IoU, %", *(f"IoU of {name}, %" for name in MASK_CLASSES),
]  # fmt: skip
SHOWN = 4
"""Rows of the picture."""


def main() -> None:
    """Train what is not trained, write the table and the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--minutes", type=float, default=5.0, help="of every training")
    options = parser.parse_args()
    config = SegmentConfig()
    config = replace(config, training=replace(config.training, minutes=options.minutes))
    rows, columns = [], []
    for name in reversed(names_of("dense network")):
        out = options.out / name
        found = segment(name, config, out, resume=True)
        network = build_network(name, classes=len(MASK_CLASSES))
        parameters = sum(parameter.numel() for parameter in network.parameters())
        figures = [
            found[key]
            for key in ("pixel_accuracy", "mean_accuracy", "mean_iou", "frequency_weighted_iou")
        ]
        figures += [found["iou"][key] for key in MASK_CLASSES]
        rows.append(
            [
                f"`{name}`",
                f"{parameters / 1e6:.1f}",
                f"{found['steps']:,}",
                *(f"{100 * figure:.1f}" for figure in figures),
            ]
        )
        view, truth, answer = np.split(np.asarray(Image.open(out / "masks.png")), 3, axis=1)
        columns += [answer] if columns else [view, truth, answer]
    first, last = found["seeds"]
    note = (
        f"{found['seconds'] / 60:.0f} minutes of training each on 2 cores by `eyehand segment`, "
        f"one seed, no weights from elsewhere; {config.test_pictures} test pictures of each "
        f"task of MT10, start states {first:,} to {last:,}, which no network was trained on."
    )
    write_table(PAGE, MARK, note, HEAD, rows)
    rows_shown = view.shape[0] * SHOWN // DRAWN
    Image.fromarray(np.concatenate(columns, axis=1)[:rows_shown]).save(PICTURE, optimize=True)


if __name__ == "__main__":
    main()
