"""Classification where the truth is planted: clusters of known tightness, species and genera that the corpus lacks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Float32
from typer.testing import CliRunner

from explorer.classification import Classifier, Verdict
from explorer.cli import app
from explorer.electorate import Question, Scope
from explorer.filters import Filter
from explorer.reliability_store import list_reliabilities
from explorer.search import Searcher
from explorer.taxon_lists import open_taxon_list
from indexer.corpus import Corpus, open_corpus
from indexer.errors import CorpusError, QueryError
from indexer.removals import remove_records
from tests.corpora import make_vector_corpus

DIMENSION = 64
N_FAMILIES, N_GENERA, N_SPECIES, N_OCCURRENCES = 3, 3, 4, 6


class Tree:
    """A planted tree of life: each family, genus, species and image lies off its parent by a known step."""

    def __init__(self) -> None:
        rng = np.random.default_rng(7)

        def step(size: float) -> Float32[np.ndarray, " d"]:
            moved = rng.normal(size=DIMENSION)
            return (size * moved / np.linalg.norm(moved)).astype(np.float32)

        self.columns: dict[str, list[str]] = {name: [] for name in ("kingdom", "family", "genus", "species", "region")}
        self.occurrences: list[str] = []
        self.genera: dict[str, Float32[np.ndarray, " d"]] = {}
        vectors = []
        for f in range(N_FAMILIES):
            family = step(1)
            for g in range(N_GENERA):
                genus = self.genera[f"G{f}{g}"] = family + step(0.8)
                for s in range(N_SPECIES):
                    species = genus + step(0.6)
                    for o in range(N_OCCURRENCES):
                        place = species + step(0.2)
                        for _ in range(2):
                            vectors.append(place + step(0.05))
                            values = ("Animalia", f"F{f}", f"G{f}{g}", f"G{f}{g} s{s}", "north" if s < 2 else "south")
                            for name, value in zip(self.columns, values, strict=True):
                                self.columns[name].append(value)
                            self.occurrences.append(f"{f}{g}{s}{o}")
        self.vectors = np.stack(vectors)
        self.step = step


@pytest.fixture(scope="module")
def tree() -> Tree:
    return Tree()


@pytest.fixture(scope="module")
def corpus(tree: Tree, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("tree") / "tree.corpus"
    made, _ = make_vector_corpus(folder, tree.vectors, columns=tree.columns, occurrence_ids=tree.occurrences)
    return made


@pytest.fixture(scope="module")
def classifier(corpus: Corpus) -> Classifier:
    return classifier_of(corpus)


def classifier_of(corpus: Corpus, scope: Scope | None = None) -> Classifier:
    return Classifier(Searcher(corpus, corpus.open_space()), scope)


def ask(vector: Float32[np.ndarray, " d"], row: int | None = None) -> Question:
    return Question(query_id="q", vector=(vector / np.linalg.norm(vector)).astype(np.float32), row=row)


def test_a_seen_species_is_named(classifier: Classifier, tree: Tree) -> None:
    rows = range(0, len(tree.vectors), 24)
    found = classifier.classify([ask(tree.vectors[row], row) for row in rows])
    named = [each.answer.name if each.answer else None for each in found]
    assert named == [tree.columns["species"][row] for row in rows]


def test_the_lineage_goes_down_the_ranks_and_confidence_never_rises(classifier: Classifier, tree: Tree) -> None:
    (found,) = classifier.classify([ask(tree.vectors[0], 0)])
    assert [answer.rank for answer in found.lineage] == ["kingdom", "family", "genus", "species"]
    confidences = [answer.confidence for answer in found.lineage]
    assert all(confidence is not None for confidence in confidences)
    assert confidences == sorted(confidences, reverse=True)  # type: ignore[type-var]


def test_a_species_never_seen_stops_at_its_genus(classifier: Classifier, tree: Tree) -> None:
    new = [genus + tree.step(0.6) + tree.step(0.2) for genus in tree.genera.values() for _ in range(5)]
    truth = [name for name in tree.genera for _ in range(5)]
    found = classifier.classify([ask(vector) for vector in new])
    ranks = [each.answer.rank if each.answer else None for each in found]
    assert "species" not in ranks
    assert ranks.count("genus") >= 0.8 * len(ranks)
    right = [
        each.answer.name == name
        for each, name in zip(found, truth, strict=True)
        if each.answer and each.answer.rank == "genus"
    ]
    assert np.mean(right) >= 0.9


def test_a_species_left_out_of_the_corpus_stops_at_its_genus(tree: Tree, tmp_path: Path) -> None:
    made, _ = make_vector_corpus(
        tmp_path / "held.corpus", tree.vectors, columns=tree.columns, occurrence_ids=tree.occurrences
    )
    rows = np.array([row for row, name in enumerate(tree.columns["species"]) if name == "G11 s2"])
    remove_records(made, rows)
    found = classifier_of(made).classify([ask(tree.vectors[row]) for row in rows])
    answers = [(each.answer.rank, each.answer.name) if each.answer else None for each in found]
    assert set(answers) <= {("genus", "G11"), ("family", "F1")}
    assert answers.count(("genus", "G11")) > len(answers) / 2


def test_what_is_unlike_everything_is_not_named(classifier: Classifier) -> None:
    (found,) = classifier.classify([ask(np.random.default_rng(3).normal(size=DIMENSION))])
    assert found.verdict is Verdict.UNLIKE
    assert found.answer is None
    assert found.nearest is not None
    assert found.nearest.percentile < 95


def test_the_own_occurrence_has_no_vote(classifier: Classifier, tree: Tree) -> None:
    own, other = classifier.classify([ask(tree.vectors[0], 0), ask(tree.vectors[0])])
    assert own.nearest is not None
    assert other.nearest is not None
    assert tree.occurrences[own.nearest.row] != tree.occurrences[0]
    assert other.nearest.row == 0


def test_the_stated_reliability_holds_for_new_questions(classifier: Classifier, tree: Tree) -> None:
    found = classifier.classify([ask(vector, row) for row, vector in enumerate(tree.vectors)])
    for place, rank in enumerate(("kingdom", "family", "genus", "species")):
        confidence = [each.lineage[place].confidence for each in found]
        right = [each.lineage[place].name == tree.columns[rank][row] for row, each in enumerate(found)]
        assert abs(np.mean(np.array(confidence, float)) - np.mean(right)) < 0.15


def test_a_restriction_to_a_region_names_only_what_lives_there(corpus: Corpus, tree: Tree) -> None:
    north = classifier_of(corpus, Scope(record_filter=Filter(where="region = 'north'")))
    rows = [row for row, name in enumerate(tree.columns["region"]) if name == "north"][::24]
    found = north.classify([ask(tree.vectors[row], row) for row in rows])
    assert [each.answer.name if each.answer else None for each in found] == [
        tree.columns["species"][row] for row in rows
    ]
    assert all(tree.columns["region"][each.nearest.row] == "north" for each in found if each.nearest)


def test_a_restriction_to_a_list_names_only_what_it_lists(corpus: Corpus, tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("# a checklist\nF0\nG11 s2\n", encoding="utf-8")
    scope = Scope(listed=open_taxon_list(corpus, tmp_path / "list.txt"), list_name="list.txt")
    found = classifier_of(corpus, scope).classify([ask(vector) for vector in tree.vectors[::12]], ordinary=0)
    assert {each.lineage[1].name for each in found} == {"F0", "F1"}
    assert {each.lineage[3].name for each in found if each.lineage[1].name == "F1"} == {"G11 s2"}


def test_the_calibration_is_kept_with_its_curve_and_read_again(corpus: Corpus, classifier: Classifier) -> None:
    first = classifier.reliability()
    lines: list[str] = []
    again = Classifier(Searcher(corpus, corpus.open_space()), announce=lines.append).reliability()
    assert again == first
    assert lines == []
    digest = json.loads(corpus.open_space().index_path.read_text())["digest"]
    assert list_reliabilities(corpus.open_space(), digest) == [first]
    species = first.ranks["species"]
    assert species.error_low <= species.error_high
    assert sum(point.weight for point in species.curve) == pytest.approx(1)
    assert first.unseen == pytest.approx({"family": 0.025, "genus": 0.05, "species": 0.1})


def test_a_calibration_of_another_index_or_other_records_is_not_used(tree: Tree, tmp_path: Path) -> None:
    made, space = make_vector_corpus(
        tmp_path / "c.corpus", tree.vectors, columns=tree.columns, occurrence_ids=tree.occurrences
    )
    first = classifier_of(made)
    before = first.reliability()
    remove_records(made, np.arange(48))
    after = first.reliability()
    assert after.n_held_out == before.n_held_out - 24
    assert len(list((space.folder / "reliability").glob("*.json"))) == 2


def test_a_damaged_calibration_is_said(tree: Tree, tmp_path: Path) -> None:
    made, space = make_vector_corpus(
        tmp_path / "c.corpus", tree.vectors, columns=tree.columns, occurrence_ids=tree.occurrences
    )
    classifier_of(made).reliability()
    (file,) = (space.folder / "reliability").glob("*.json")
    file.write_text('{"method": "neighbours"}', encoding="utf-8")
    with pytest.raises(CorpusError, match=r"not a calibration .* Delete the file"):
        classifier_of(made).reliability()


def test_few_records_are_not_calibrated_and_say_so(tmp_path: Path) -> None:
    made, _ = make_vector_corpus(
        tmp_path / "few.corpus", np.eye(4, dtype=np.float32), columns={"species": list("abab")}
    )
    lines: list[str] = []
    few = Classifier(Searcher(made, made.open_space()), announce=lines.append)
    (found,) = few.classify([ask(np.eye(4)[0])], ordinary=0)
    assert found.verdict is Verdict.UNSURE
    assert found.lineage[0].confidence is None
    assert "not calibrated" in lines[-1]


def test_records_without_names_cannot_name(tmp_path: Path) -> None:
    made, _ = make_vector_corpus(tmp_path / "bare.corpus", np.eye(2, dtype=np.float32))
    with pytest.raises(QueryError, match="name no taxon"):
        classifier_of(made).reliability()


@pytest.mark.parametrize(("floor", "ordinary"), [(1.5, 99), (0.8, 101), (0.8, -1), (float("nan"), 99)])
def test_shares_out_of_range_are_refused(classifier: Classifier, tree: Tree, floor: float, ordinary: float) -> None:
    with pytest.raises(QueryError, match="is allowed"):
        classifier.classify([ask(tree.vectors[0])], floor=floor, ordinary=ordinary)


def test_nothing_asked_is_nothing_answered(classifier: Classifier) -> None:
    assert classifier.classify([]) == []


def test_the_command_writes_every_rank(corpus: Corpus, tree: Tree, tmp_path: Path) -> None:
    out = tmp_path / "names.csv"
    result = CliRunner().invoke(app, ["classify", str(corpus.path), "--like", "r0", "--like", "r30", "--out", str(out)])
    assert result.exit_code == 0, result.output
    lines = out.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("query_id,verdict,taxon,rank,confidence,nearest_record_id")
    assert lines[1].startswith("r0,named,G00 s0,species,")
    assert len(lines) == 3


def test_the_command_without_a_question_tells_the_calibration(corpus: Corpus) -> None:
    result = CliRunner().invoke(app, ["classify", str(corpus.path)])
    assert result.exit_code == 0, result.output
    assert "identification by neighbours: calibrated on 216 held-out occurrences" in result.output


def test_names_answer_where_pictures_and_words_share_a_space(tmp_path: Path, colour_encoder: str) -> None:
    from tests.explorer.app_fixtures import build_colour_corpus

    made = build_colour_corpus(tmp_path / "squares", colour_encoder, with_map=False)
    searcher = Searcher(made, made.open_space(), device="cpu")
    (tmp_path / "names.csv").write_text("genus,species,vernacularName\nAus,Aus bus,red\nAus,Aus cus,blue\n")
    listed = open_taxon_list(open_corpus(made.path), tmp_path / "names.csv")
    from explorer.votes import Method

    scope = Scope(method=Method.NAMES, listed=listed, list_name="names.csv")
    found = Classifier(searcher, scope).classify(
        [ask(np.array([1, -1, -1, 0])), ask(np.array([-1, -1, 1, 0]))], ordinary=0
    )
    assert [each.lineage[-1].name for each in found] == ["Aus bus", "Aus cus"]
