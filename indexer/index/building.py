"""Building the index of a space: ordered, chosen, trained, tuned, measured, committed; extended where that will do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexer.errors import CorpusError, InputError
from indexer.index.background import Background, measure_background
from indexer.index.calibrating import SAMPLE, CalibrationTrial, fit_calibration, name_sample
from indexer.index.choosing import BITS, IndexChoice, choose_kind
from indexer.index.extending import Extension, extend_lists, find_drift, plan_extension
from indexer.index.facts import KIND_EXACT, IndexFacts, Modality, SearchSettings
from indexer.index.filling import ListFiller, fill_here
from indexer.index.lists import (
    describe_faiss,
    make_lists,
    measure_imbalance,
    train_centroids,
    write_lists,
)
from indexer.index.material import Material
from indexer.index.matrix import BLOCK, Matrix, MatrixWriter, open_matrix
from indexer.index.settings import BuildSettings
from indexer.index.storage import (
    CODES,
    ROWS,
    TAXA,
    StoredIndex,
    describe_index,
    draft_index,
    has_index,
    publish_index,
    read_index,
)
from indexer.index.taxa import ORDER_COLUMNS, find_taxa, order_rows
from indexer.index.tuning import RECALL_GOAL, REFINE_FACTORS, HeldQueries, Tuned, hold_records, hold_texts, tune
from indexer.vectors import live_rows, open_vectors

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from jaxtyping import Float16, Float32, Int64

    from indexer.corpus import Space
    from indexer.index.calibration import Calibration

TextQueries = Callable[[], "Float32[np.ndarray, 'q d'] | None"]
"""Gives the vectors of real texts, or None where none can be had. Called only where an index is tuned."""


def build_index(
    space: Space,
    *,
    announce: Callable[[str], None],
    columns: pa.Table | None = None,
    text_queries: TextQueries = lambda: None,
    settings: BuildSettings | None = None,
    fill_lists: ListFiller = fill_here,
) -> IndexFacts | None:
    """Index the vectors of a space, those of removed records apart; what was built, or None while there is no vector.

    An approximate index that is there already is extended, unless its lists have come to fit badly (`extending`).
    At no moment more than a block of vectors and the training sample are in memory. The caller holds the corpus's lock.

    Args:
        space: whose vectors are indexed.
        announce: is told what was chosen and why, and the recall that was measured.
        columns: of the records in row order: names (`taxa.TAXON_COLUMNS`), which decide the order and judge a
            calibration, and `occurrence_id`.
        text_queries: gives vectors of real texts to tune the search by text with.
        settings: what is asked for.
        fill_lists: fills the lists of an index that is built anew.

    Raises:
        InputError: not even the shortest codes fit the memory.
    """
    dataset = open_vectors(space)
    if dataset is None:
        return None
    former = _read_former(space)
    settings = settings or BuildSettings()
    goal = settings.goal or (former.facts.goal if former else RECALL_GOAL)
    builder = _Builder(
        material=Material(space, dataset, space.removed_rows(), columns),
        settings=replace(settings, goal=goal),
        goal=goal,
        text_queries=text_queries,
        announce=lambda line: announce(f"index of {space.name}: {line}"),
        fill_lists=fill_lists,
    )
    return builder.extend_or_build(former).facts


def is_current(space: Space, settings: BuildSettings | None = None) -> bool:
    """Whether the stored index is whole, holds the vectors of all records but the removed, and is as asked for."""
    import numpy as np

    former = _read_former(space)
    if former is None:
        return open_vectors(space) is None
    settings = settings or BuildSettings()
    if settings.goal not in (None, former.facts.goal):
        return False
    if settings.memory is not None and former.facts.bytes_in_memory > settings.memory:
        return False
    return np.array_equal(np.sort(former.load_rows()), live_rows(space))


def _read_former(space: Space) -> StoredIndex | None:
    """The committed index; None where there is none that could be read."""
    if not has_index(space):
        return None
    try:
        former = read_index(space)
        former.require_whole()
    except (CorpusError, FileNotFoundError):
        return None
    return former


@dataclass(frozen=True, kw_only=True)
class _Builder:
    """One build.

    Attributes:
        material: what is indexed.
        settings: what is asked for.
        goal: recall@10 to reach.
        text_queries: gives vectors of real texts.
        announce: is told what is done.
        fill_lists: fills the lists of an index that is built anew.
    """

    material: Material
    settings: BuildSettings
    goal: float
    text_queries: TextQueries
    announce: Callable[[str], None]
    fill_lists: ListFiller

    @property
    def space(self) -> Space:
        """Whose index is built."""
        return self.material.space

    def extend_or_build(self, former: StoredIndex | None) -> StoredIndex:
        """Extend the former index where that will do, else build anew; either way commit it."""
        reason = ""
        if former is not None:
            planned = plan_extension(former, self.material, self.settings)
            if isinstance(planned, Extension):
                done = self._retune(planned) if planned.is_empty else self._extend(planned)
                if isinstance(done, StoredIndex):
                    return done
                planned = done
            reason = planned
            if not former.facts.is_exact:
                self.announce(f"built anew, because {reason}")
        with draft_index(self.space) as draft:
            facts = self._build(draft)
            if not facts.is_exact and former is not None:
                facts = replace(facts, reason=f"{facts.reason}; built anew because {reason}")
            return publish_index(self.space, draft, facts)

    def _retune(self, extension: Extension) -> StoredIndex | str:
        """Tune the index as it is to another goal, or say why it cannot be."""
        former = extension.former
        matrix = open_matrix(former)
        index = extend_lists(extension, matrix.vectors, self.settings.device)
        tuned = self._tune(index, self._hold_queries(matrix))
        if not self._is_met(tuned) and former.facts.n_bits < BITS[-1]:
            return f"codes of {former.facts.n_bits} bits miss the recall asked for"
        facts = replace(former.facts, goal=self.goal, **_state_tuning(tuned, index.nlist))
        self.announce(describe_tuning(facts))
        return describe_index(self.space, replace(former, facts=facts))

    def _extend(self, extension: Extension) -> StoredIndex | str:
        """Append to the former lists and commit that, or say why they will not do."""
        facts = extension.former.facts
        with draft_index(self.space) as draft:
            matrix = self._write_extended(draft, extension)
            index = extend_lists(extension, matrix.vectors, self.settings.device)
            drift = find_drift(extension, index, matrix.vectors, self.settings.seed)
            if drift:
                return drift
            tuned = self._tune(index, self._hold_queries(matrix))
            if not self._is_met(tuned) and facts.n_bits < BITS[-1]:
                return f"its {facts.n_bits}-bit codes miss the recall asked for"
            write_lists(index, draft / CODES)
            extended = replace(
                facts,
                n=extension.n,
                n_ordered=extension.n_ordered,
                goal=self.goal,
                bytes_in_memory=_size_in_memory(index),
                list_imbalance=measure_imbalance(index),
                vectors_version=self.material.dataset.version,
                background=self._measure_background(matrix),
                **_state_tuning(tuned, index.nlist),
            )
            n_gone = facts.n - len(extension.kept)
            self.announce(f"extended by {len(extension.new_rows):,} vectors, freed of {n_gone:,}; lists trained before")
            self.announce(describe_tuning(extended))
            return publish_index(self.space, draft, extended)

    def _write_extended(self, draft: Path, extension: Extension) -> Matrix:
        """Copy the vectors that are kept and append the new ones."""
        import numpy as np

        former = open_matrix(extension.former)
        writer = MatrixWriter(draft, extension.n, extension.former.facts.dimension, former.calibration)
        writer.copy(former, extension.kept)
        for start in range(0, len(extension.new_rows), BLOCK):
            rows = extension.new_rows[start : start + BLOCK]
            writer.put(len(extension.kept) + start + np.arange(len(rows)), self.material.read_some(rows))
        self._write_order(draft, extension.rows)
        return writer.finish()

    def _build(self, draft: Path) -> IndexFacts:
        """Write a whole index into the draft."""
        rows = order_rows(self.material.rows, self.material.columns)
        choice = self._choose(len(rows), self.space.dimension, BITS[0])
        self.announce(f"{choice.kind}, because {choice.reason}")
        trial = self._try_calibration()
        matrix = self._write_vectors(draft, rows, trial.calibration if trial else None)
        self._write_order(draft, rows)
        facts = IndexFacts(
            kind=KIND_EXACT,
            reason=choice.reason,
            n=len(rows),
            dimension=self.space.dimension,
            n_lists=0,
            n_bits=0,
            bytes_in_memory=choice.bytes_in_memory,
            parameters={},
            recall={},
            goal=self.goal,
            background=self._measure_background(matrix),
            n_ordered=len(rows),
            calibration=trial.to_json() if trial else None,
            n_trained=0,
            list_imbalance=0.0,
            trained_imbalance=0.0,
            vectors_version=self.material.dataset.version,
            built_with=describe_faiss("cpu"),
        )
        return facts if choice.kind == KIND_EXACT else self._build_lists(draft, matrix, choice, facts)

    def _build_lists(self, draft: Path, matrix: Matrix, choice: IndexChoice, facts: IndexFacts) -> IndexFacts:
        """Train and fill lists of codes; with more bits where shorter codes miss the recall asked for."""
        device, vectors = self.settings.device, matrix.vectors
        centroids = train_centroids(vectors, choice.n_lists, device=device, seed=self.settings.seed)
        assigned = None
        held = self._hold_queries(matrix)
        while True:
            index = make_lists(centroids, choice.n_bits)
            assigned = self.fill_lists(index, vectors, assigned, device=device)
            tuned = self._tune(index, held)
            following = None if self._is_met(tuned) else self._choose_longer(vectors, choice, tuned)
            if following is None:
                break
            choice = following
        write_lists(index, draft / CODES)
        imbalance = measure_imbalance(index)
        facts = replace(
            facts,
            kind=choice.kind,
            reason=choice.reason,
            n_lists=choice.n_lists,
            n_bits=choice.n_bits,
            bytes_in_memory=_size_in_memory(index),
            n_trained=len(vectors),
            list_imbalance=imbalance,
            trained_imbalance=imbalance,
            built_with=describe_faiss(device),
            **_state_tuning(tuned, index.nlist),
        )
        self.announce(describe_tuning(facts))
        return facts

    def _choose(self, n: int, dimension: int, n_bits: int) -> IndexChoice:
        settings = self.settings
        return choose_kind(n, dimension, memory=settings.memory, n_bits=n_bits, exact_up_to=settings.exact_up_to)

    def _choose_longer(
        self, vectors: Float16[np.ndarray, "n d"], choice: IndexChoice, tuned: Mapping[Modality, Tuned]
    ) -> IndexChoice | None:
        """The choice with the next longer codes; None, with the reason announced, where there is none."""
        missed = min(found.recall.value for found in tuned.values())
        said = f"recall@10 {missed:.4f} with {choice.kind} misses the goal of {self.goal}"
        longer = [bits for bits in BITS if bits > choice.n_bits]
        if not longer:
            self.announce(f"{said}, and no longer codes are tried")
            return None
        try:
            following = self._choose(len(vectors), vectors.shape[1], longer[0])
        except InputError as error:
            self.announce(f"{said}; {error}")
            return None
        self.announce(f"{said}; {longer[0]} bits are tried next")
        return following

    def _try_calibration(self) -> CalibrationTrial | None:
        """Fit a calibration on a sample and judge it; None where that is not asked for, or no record is named."""
        import numpy as np

        columns = self.material.columns
        if not self.settings.calibrate or columns is None or not len(self.material.rows):
            return None
        rng = np.random.default_rng(self.settings.seed)
        rows = np.sort(rng.choice(self.material.rows, min(SAMPLE, len(self.material.rows)), replace=False))
        sample = name_sample(self.material.read_some(rows), rows, columns, ORDER_COLUMNS)
        trial = fit_calibration(sample, seed=self.settings.seed)
        self.announce(f"similarity is {'calibrated' if trial.calibration else 'as it is'}, because {trial.reason}")
        return trial

    def _write_vectors(self, draft: Path, rows: Int64[np.ndarray, " n"], calibration: Calibration | None) -> Matrix:
        """Stream the stored vectors to their positions."""
        import numpy as np

        writer = MatrixWriter(draft, len(rows), self.space.dimension, calibration)
        positions = np.full(int(self.material.stored_rows.max(initial=-1)) + 1, -1)
        positions[rows] = np.arange(len(rows))
        for stored, raw in self.material.read_all():
            at = positions[stored]
            writer.put(at[at >= 0], raw[at >= 0])
        return writer.finish()

    def _write_order(self, draft: Path, rows: Int64[np.ndarray, " n"]) -> None:
        import numpy as np
        import pyarrow.parquet as pq

        np.save(draft / ROWS, rows)
        pq.write_table(find_taxa(rows, self.material.columns), draft / TAXA)

    def _measure_background(self, matrix: Matrix) -> Background:
        import numpy as np

        vectors = matrix.vectors
        return measure_background(len(vectors), lambda at: np.asarray(vectors[at], np.float32), seed=self.settings.seed)

    def _hold_queries(self, matrix: Matrix) -> dict[Modality, HeldQueries]:
        held = {Modality.IMAGE: hold_records(matrix.vectors, seed=self.settings.seed)}
        texts = self.text_queries()
        if texts is not None and len(texts):
            held[Modality.TEXT] = hold_texts(matrix.raw, matrix.translate_texts(texts), "names as texts")
        elif matrix.calibration is not None:
            # What the lists of calibrated vectors cost a search by raw similarity must be known without texts too.
            records = matrix.calibration.restore(matrix.raw[held[Modality.IMAGE].own])
            queries = matrix.translate_texts(records)
            held[Modality.TEXT] = hold_texts(matrix.raw, queries, "records by raw similarity, for want of texts")
        return held

    def _tune(self, index: Any, held: Mapping[Modality, HeldQueries]) -> dict[Modality, Tuned]:
        return {
            modality: tune(index, queries, modality, goal=self.goal, seed=self.settings.seed)
            for modality, queries in held.items()
        }

    def _is_met(self, tuned: Mapping[Modality, Tuned]) -> bool:
        return all(found.recall.value >= self.goal for found in tuned.values())


def describe_tuning(facts: IndexFacts) -> str:
    """Recall and settings of an approximate index in one line."""
    is_met = all(found.value >= facts.goal for found in facts.recall.values())
    missed = "" if is_met else f"; the goal of {facts.goal:g} was not met"
    return f"{facts.describe_recall()}; {facts.describe_settings()}{missed}"


def _state_tuning(tuned: Mapping[Modality, Tuned], n_lists: int) -> dict[str, Any]:
    """The facts that follow from tuning. Texts that could not be measured are searched twice as widely as images."""
    parameters = {modality: found.settings for modality, found in tuned.items()}
    if Modality.TEXT not in parameters:
        n_probe = min(2 * parameters[Modality.IMAGE].n_probe, n_lists)
        parameters[Modality.TEXT] = SearchSettings(n_probe=n_probe, refine_factor=REFINE_FACTORS[Modality.TEXT][-1])
    return {"parameters": parameters, "recall": {modality: found.recall for modality, found in tuned.items()}}


def _size_in_memory(index: Any) -> int:
    """Bytes of the codes, their ids and the centroids."""
    return int(index.ntotal * (index.code_size + 8) + 4 * index.nlist * index.d)
