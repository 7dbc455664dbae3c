"""Lists of taxa, as a checklist of a country: what an identification is restricted to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from indexer.errors import QueryError
from indexer.names import TaxonName, complete_name, read_binomial
from indexer.tables import read_table
from indexer.terms import RANKS, canonical_columns

if TYPE_CHECKING:
    import pyarrow as pa

    from indexer.corpus import Corpus

VERNACULAR = "vernacularName"
LINEAGE_COLUMNS = (*RANKS, VERNACULAR)


def open_taxon_list(corpus: Corpus, path: Path) -> pa.Table:
    """The listed taxa, as `read_taxon_list` gives them, with the corpus's records as what is known."""
    columns = [name for name in LINEAGE_COLUMNS if name in corpus.column_types()]
    return read_taxon_list(path, corpus.read_columns(columns))


def read_taxon_list(path: Path, known: pa.Table) -> pa.Table:
    """The listed taxa: the seven ranks and the vernacular name, one line each, what is not said empty.

    Args:
        path: a text file with one name per line (`#` begins a comment), or a table with columns of Darwin Core ranks or
            `scientificName`.
        known: the records' columns of the same names: a name alone is that of every taxon, at any rank, that is called
            so; where there is none, a binomial is a species.

    Raises:
        QueryError: no such file, nothing in it, or names that are neither known nor binomials (all are listed).
    """
    if not path.is_file():
        raise QueryError(f"--taxa {path}: no such file. Name a text file with one name per line, or a CSV with ranks.")
    lines = _read_names(path, known) if path.suffix.lower() == ".txt" else _read_lineages(path, known)
    if not lines:
        raise QueryError(
            f"--taxa {path}: names no taxon. Write one name per line, or a CSV with a column scientificName."
        )
    return _make_table(lines)


def _make_table(lines: list[dict[str, str | None]]) -> pa.Table:
    import pyarrow as pa

    return pa.table({name: pa.array([line.get(name) for line in lines], pa.string()) for name in LINEAGE_COLUMNS})


def _read_names(path: Path, known: pa.Table) -> list[dict[str, str | None]]:
    text = path.read_text(encoding="utf-8-sig")
    names = [line.split("#")[0].strip() for line in text.splitlines()]
    return _place_names([name for name in names if name], known, path)


def _read_lineages(path: Path, known: pa.Table) -> list[dict[str, str | None]]:
    raw = read_table(path)
    columns = {term: raw.columns[name].to_pylist() for name, term in canonical_columns(raw.columns).items()}
    wanted = [name for name in (*LINEAGE_COLUMNS, "scientificName", "specificEpithet") if name in columns]
    if not any(name in wanted for name in (*RANKS, "scientificName")):
        raise QueryError(
            f"--taxa {path}: no column of names among {', '.join(raw.columns)}; a rank ({', '.join(RANKS)}) or "
            "scientificName is needed. Rename a column, or write the names alone into a .txt file."
        )
    lines = [{name: _read_cell(columns[name][row]) for name in wanted} for row in range(raw.n_rows)]
    found = [_complete(line) for line in lines]
    bare = [str(line["scientificName"]) for line in found if _is_bare(line)]
    placed = [{name: line.get(name) for name in LINEAGE_COLUMNS} for line in found if not _is_bare(line)]
    named = [line for line in placed if any(line[rank] for rank in RANKS)]
    return named + _place_names(bare, known, path)


def _is_bare(line: dict[str, str | None]) -> bool:
    return bool(line.get("scientificName")) and not any(line.get(rank) for rank in RANKS)


def _read_cell(value: object) -> str | None:
    text = "" if value is None else str(value).strip()
    return text or None


def _complete(line: dict[str, str | None]) -> dict[str, str | None]:
    """The line with genus and species filled where its other cells say them."""
    name = TaxonName(
        scientific=line.get("scientificName"),
        genus=line.get("genus"),
        species=line.get("species"),
        epithet=line.get("specificEpithet"),
    )
    found = complete_name(name)
    return {**line, "genus": found.genus, "species": found.species}


def _place_names(names: list[str], known: pa.Table, path: Path) -> list[dict[str, str | None]]:
    lines: list[dict[str, str | None]] = []
    strange = []
    for name, found in zip(names, _find_lineages(names, known), strict=True):
        binomial = read_binomial(name)
        if found:
            lines += found
        elif binomial:
            lines.append({"genus": binomial.genus, "species": str(binomial)})
        else:
            strange.append(name)
    if strange:
        shown = ", ".join(map(repr, strange[:5])) + (f" and {len(strange) - 5:,} more" if len(strange) > 5 else "")
        raise QueryError(
            f"--taxa {path}: {shown}: no record carries the name, and its rank is not said. Correct the spelling, or "
            "give a CSV whose columns are ranks."
        )
    return lines


def _find_lineages(names: list[str], known: pa.Table) -> list[list[dict[str, str | None]]]:
    """The different lineages, down to the named taxon, of the records that carry each name."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = pa.array(sorted({name.casefold() for name in names}), pa.string())
    ranks = [rank for rank in RANKS if rank in known.column_names]
    found: dict[str, dict[tuple[str | None, ...], None]] = {}
    for place, rank in enumerate(ranks):
        is_named = pc.is_in(pc.utf8_lower(known.column(rank)), value_set=wanted)
        lineages = known.select(ranks[: place + 1]).filter(is_named).group_by(ranks[: place + 1]).aggregate([])
        for line in lineages.to_pylist():
            cells = tuple(line[above] for above in ranks[: place + 1])
            found.setdefault(str(line[rank]).casefold(), {})[cells] = None
    return [[dict(zip(ranks, cells, strict=False)) for cells in found.get(name.casefold(), {})] for name in names]
