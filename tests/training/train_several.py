"""Trains several runs, one after the other, as `morphospace train` does: python -m tests.training.train_several RUN ….

Each RUN is a folder that holds `settings.toml`; the run goes to its folder `run`. One program for all, since the
imports take longer than the steps.
"""

import sys
from pathlib import Path


def main() -> None:
    from explorer.training_run import run_training
    from training.settings import read_config

    for name in sys.argv[1:]:
        run_training(read_config(Path(name) / "settings.toml"), Path(name) / "run")


if __name__ == "__main__":
    main()
