"""The demonstration: a synthetic tree of life, drawn, indexed with the bundled encoder, opened in the app."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from explorer.progress import announce, follow_job


def run_demo(corpus: Path, *, n_images: int, port: int, show_app: bool) -> None:
    """Make the demo corpus where it is missing, lay out its map, and open the app.

    The map takes about a minute, most of it for umap-learn to compile itself; it is made while the app is open already.
    """
    from indexer.job import IndexSettings, index_images
    from training.synthetic.demo import draw_demo

    pictures = corpus.with_name(corpus.name + "-images")
    table = pictures / "records.csv"
    if not _lists(table, n_images):
        announce(f"drawing {n_images:,} pictures into {pictures}")
        draw_demo(pictures, n_images=n_images)
    settings = IndexSettings(source=table, corpus=corpus, model="bundled", with_map=not show_app)
    with follow_job() as listener:
        report = index_images(settings, listener)
    announce(report.describe())
    if show_app:
        from explorer.server import serve_app

        map_job = subprocess.Popen([sys.executable, "-m", "explorer", "map", str(corpus)])
        try:
            serve_app(report.corpus, port=port, address="127.0.0.1", open_browser=True)
        finally:
            map_job.terminate()
            map_job.wait()


def _lists(table: Path, n_images: int) -> bool:
    """Whether a table of so many drawn pictures is there already; it is written after the last picture."""
    if not table.exists():
        return False
    with table.open(encoding="utf-8") as lines:
        return sum(1 for _ in lines) == n_images + 1
