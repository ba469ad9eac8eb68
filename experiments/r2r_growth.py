"""Figures 5 to 8 of the R2R paper: growing during training, and after it.

    python -m experiments.r2r_growth --figure 5 --data cifar-10-batches-bin

5: the wide teacher (259,226 parameters) is widened into the base network (579,386) at 0, 1500,
3000 or 4500 of 6,000 updates. 7: the same, but the deep teacher (238,202) gets the base network's
third block.
6: the wide teacher is trained for 10,000 updates; then the students that R2WiderR and random
padding make of it are trained for 7,000, and so is the base network from scratch. 8: the same
with the deep teacher, trained for 5,000 updates, and figure 7's step.
``--pipeline`` takes another step: ``--figure 7 --pipeline r2deeper`` adds R2R blocks alone.

r2r/training.py has the recipe. At a growth step learning rate and weight decay are multiplied by
|θ₁|/|θ₂|, and the optimizer is carried over; from scratch, the rate is the full one (in the
author's code it was the reduced one).

Writes ``results/r2r_figure5.csv``, a row for each evaluation, a table and a picture beside it.
What is in the file already is not run again, and a run that was cut off goes on at its last
evaluation. ``--draw`` renews table and picture without training.
"""

from __future__ import annotations

import argparse
import re

import torch

from experiments.r2r import drawing, tables
from experiments.r2r.figures import FIGURES, run_seed
from experiments.r2r.training import RESULTS, Data


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--figure", type=int, choices=sorted(FIGURES), required=True)
    parser.add_argument("--data", help="folder of data_batch_1.bin, …")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--scale", type=float, default=1.0, help="share of the paper's updates")
    parser.add_argument("--pipeline", help="another growth step than the figure's")
    parser.add_argument("--threads", type=int, help="PyTorch's threads")
    parser.add_argument("--draw", action="store_true", help="only table and picture, from the CSV")
    parser.add_argument("--ran-at", metavar="COMMIT", help="of results that were made elsewhere")
    given = parser.parse_args()
    figure = FIGURES[given.figure]
    growth = given.pipeline or figure.growth
    other = "" if growth == figure.growth else "_" + re.sub(r"\W+", "_", growth).strip("_")
    scale = "" if given.scale == 1 else f"_scale{given.scale:g}"
    file = RESULTS / f"r2r_figure{given.figure}{other}{scale}.csv"
    if given.threads:
        torch.set_num_threads(given.threads)
    if given.draw:
        tables.write(figure, file, growth, given.ran_at, trained=False)
        drawing.draw(figure, file)
        return
    if given.data is None:
        parser.error("--data is needed to train")
    data = Data(given.data)
    for seed in given.seeds:
        trained = run_seed(figure, file, data, seed, given.scale, growth)
        tables.write(figure, file, growth, given.ran_at, trained)
        drawing.draw(figure, file)


if __name__ == "__main__":
    main()
