"""NABirds: 48,562 photographs of 555 kinds of North American birds, sexes and ages apart (Van Horn et al. 2015).

Layout as published (dl.allaboutbirds.org/nabirds; its files are read so in reidarwood/ML-Capstone:data_helpers.py and
WBAD-174/bioclip-2:src/evaluation/build_nabirds_metadata.py)::

    images.txt               <picture id> <path below images/>
    image_class_labels.txt   <picture id> <class id>
    classes.txt              <class id> <name, with spaces>
    images/<class>/<id>.jpg

Protocol of BioCLIP 2 (Imageomics/bioclip-2:slurm/eval.sh, text type `asis`): the class name as it stands, such as
"House Finch (Female/immature)"; both halves of `train_test_split.txt` together. That both are asked is concluded from
the size of its table (a copy is shakesBeardZ/biolcip-2:data/annotation/nabirds/metadata.csv, 3.49 MB, 72 bytes a row).
"""

from __future__ import annotations

from pathlib import Path

from indexer.errors import SourceError
from training.judge.protocols.base import JudgeProtocol, require
from training.judge.protocols.classification import NamingSet, NamingTask
from training.judge.protocols.pictures import require_pictures

LAYOUT = "images.txt, image_class_labels.txt, classes.txt and images/, as NABirds is published"
FILES = ("images.txt", "image_class_labels.txt", "classes.txt", "images")


def load_nabirds(folder: Path) -> NamingTask:
    """The pictures with the names of their classes.

    Raises:
        SourceError: the folder lacks something, or a picture has no class.
    """
    require(folder, FILES, benchmark="NABirds", layout=LAYOUT)
    images, labels, names = (read_pairs(folder / file) for file in FILES[:3])
    unnamed = [image for image in images if labels.get(image) not in names]
    if unnamed:
        raise SourceError(
            f"{folder / FILES[1]}: {len(unnamed):,} of {len(images):,} pictures have no class that classes.txt names, "
            f"{unnamed[0]} for one. Take the three tables of one release."
        )
    texts = tuple(names[labels[image]] for image in images)
    pictures = require_pictures(
        [folder / "images" / path for path in images.values()], where=folder, benchmark="NABirds"
    )
    return NamingTask(pictures=pictures, sets=(NamingSet(name="NABirds", start=0, texts=texts),))


def read_pairs(path: Path) -> dict[str, str]:
    """The table of a file in which each line is a key, a space, and the value."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return {key: value.strip() for key, _, value in (line.strip().partition(" ") for line in lines) if key}


NABIRDS = JudgeProtocol(
    name="nabirds",
    title="NABirds",
    layout=LAYOUT,
    measures="top-1 and top-5 without examples, top-1 after 1 and 5, of 555 kinds",
    load=load_nabirds,
)
