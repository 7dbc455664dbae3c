"""Pictures for the trainings' benchmarks: one set of JPEGs, as a tar in TreeOfLife's layout and as a CSV of files."""

from __future__ import annotations

import csv
import io
import tarfile
from pathlib import Path

N_COLOURS = 12


def write_pictures(folder: Path, *, n: int, side: int, seed: int = 0) -> tuple[Path, Path]:
    """n JPEGs of side x side pixels, patches of colour, four of each species; the paths of the tar and the CSV."""
    import numpy as np
    from PIL import Image

    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    tar_path, table = folder / "pictures.tar", folder / "pictures.csv"
    with tarfile.open(tar_path, "w") as tar, table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "caption"))
        for i in range(n):
            patches = Image.fromarray(rng.integers(0, 256, (N_COLOURS, N_COLOURS, 3), dtype=np.uint8))
            path = folder / f"{i:06d}.jpg"
            patches.resize((side, side), Image.Resampling.BICUBIC).save(path, quality=90)
            genus, epithet = _spell(i // 4 // 26), _spell(i // 4)
            name = f"Animalia Chordata Aves Passeres Avidae Avis{genus} alba{epithet}"
            writer.writerow((path, f"a photo of {name}."))
            _add(tar, path.name, path.read_bytes())
            ranks = zip(
                ["kingdom", "phylum", "class", "order", "family", "genus", "species"], name.split(), strict=True
            )
            tag = " ".join(f"{rank} {taxon}" for rank, taxon in ranks)
            _add(tar, f"{path.stem}.taxonTag.txt", f"a photo of {tag}.".encode())
    return tar_path, table


def _spell(number: int) -> str:
    """The number in letters."""
    letters = ""
    while True:
        number, digit = divmod(number, 26)
        letters = chr(ord("a") + digit) + letters
        if not number:
            return letters


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))
