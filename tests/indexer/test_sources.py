import sys
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexer.errors import SourceError
from indexer.sources import Source, open_source


def _touch(root: Path, *files: str) -> Path:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"an image")
    return root


def _table(root: Path, text: str, *, name: str = "records.csv", encoding: str = "utf-8") -> Path:
    path = root / name
    path.write_bytes(text.encode(encoding))
    return path


def _open_text(
    root: Path, text: str, *, name: str = "records.csv", column_map: Mapping[str, str] | None = None
) -> Source:
    return open_source(_table(root, text, name=name), column_map=column_map)


def _column(source: Source, name: str) -> list[Any]:
    return list(source.records.column(name).to_pylist())


def test_a_folder_gives_every_file_that_may_be_an_image_in_sorted_order(tmp_path: Path) -> None:
    _touch(
        tmp_path, "b/2.JPG", "b/1.png", "a.tif", "b-c/x.jpg", "notes.txt", "report.pdf", ".hidden/z.jpg", "Thumbs.db"
    )
    _touch(tmp_path, "__MACOSX/a.jpg", "b/.DS_Store", "old.corpus/corpus.json", "old.corpus/records.lance/data")
    source = open_source(tmp_path)
    assert _column(source, "record_id") == ["a.tif", "b/1.png", "b/2.JPG", "b-c/x.jpg", "report.pdf"]
    assert _column(source, "occurrence_id") == _column(source, "record_id")
    assert _column(source, "uri")[0] == str(tmp_path.resolve() / "a.tif")
    assert any("1 files that are no images were passed over: notes.txt" in note for note in source.notes)


def test_links_that_lead_back_up_are_followed_once(tmp_path: Path) -> None:
    _touch(tmp_path, "a/1.jpg")
    (tmp_path / "a" / "again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere", target_is_directory=True)
    assert _column(open_source(tmp_path), "record_id") == ["a/1.jpg", "broken"]


def test_folders_named_after_species_label_what_lies_in_them(tmp_path: Path) -> None:
    _touch(tmp_path, "Heliconius_melpomene/dorsal/1.jpg", "red_fox/2.jpg", "3.jpg")
    source = open_source(tmp_path)
    assert _column(source, "species") == [None, "Heliconius melpomene", None]
    assert _column(source, "genus") == [None, "Heliconius", None]
    assert _column(source, "display_name") == [None, "Heliconius melpomene", "red_fox"]
    assert _column(source, "folder") == [None, "Heliconius_melpomene/dorsal", "red_fox"]
    assert "1 species read from the names of folders: Heliconius melpomene" in source.notes


def test_the_source_folder_itself_may_bear_the_species(tmp_path: Path) -> None:
    root = _touch(tmp_path / "Parus major", "1.jpg")
    assert _column(open_source(root), "species") == ["Parus major"]


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    _touch(tmp_path, "records.csv")
    with pytest.raises(SourceError, match="no image in this folder or below it"):
        open_source(tmp_path)


def test_a_source_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file or folder"):
        open_source(tmp_path / "nothing")


def test_a_table_gives_darwin_core_terms_and_keeps_all_other_columns(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg", "b.jpg")
    source = _open_text(
        tmp_path,
        "file,Scientific Name,lat,lon,year,catalogNumber,Wing.Length,is_wild,code,health\n"
        "b.jpg,Aus bus L.,10.5,-84,2015,00417,12,TRUE,07,\n"
        "a.jpg,Aus sp.,,,,00418,,false,11,NA\n",
    )
    assert _column(source, "record_id") == ["b.jpg", "a.jpg"]
    assert source.records.schema.field("decimalLatitude").type == pa.float64()
    assert source.records.schema.field("year").type == pa.int64()
    assert _column(source, "species") == ["Aus bus", None]
    assert _column(source, "display_name") == ["Aus bus L.", "Aus sp."]
    assert _column(source, "catalogNumber") == ["00417", "00418"]
    assert _column(source, "Wing_Length") == [12, None]
    assert _column(source, "is_wild") == [True, False]
    assert _column(source, "code") == ["07", "11"]
    assert _column(source, "health") == [None, None]


def test_other_columns_are_numbers_only_where_every_cell_is_one(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg", "b.jpg")
    source = _open_text(
        tmp_path,
        "file,a,b,c,d,user_id,digits\na.jpg,1,1.5,x,00,12,12345678901234567890\nb.jpg,None,1e3,2,1,13,1\n",
    )
    types = {field.name: str(field.type) for field in source.records.schema}
    expected = {"a": "int64", "b": "double", "c": "string", "d": "string", "user_id": "string", "digits": "string"}
    assert {name: types[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("encoding", "note"),
    [("utf-8-sig", None), ("utf-16", "UTF-16"), ("utf-16-le", "UTF-16-LE"), ("cp1252", "read as WINDOWS-1252")],
)
def test_accents_survive_every_usual_encoding(tmp_path: Path, encoding: str, note: str | None) -> None:
    _touch(tmp_path, "a.jpg")
    source = open_source(_table(tmp_path, "file,locality\na.jpg,São Tomé\n", encoding=encoding))
    assert _column(source, "locality") == ["São Tomé"]
    assert any((note or "UTF") in text for text in source.notes) == (note is not None)


def test_a_semicolon_table_with_decimal_commas_is_read(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg")
    source = _open_text(tmp_path, "file;lat;lon;wing\na.jpg;48,137;11,5;3,25\n")
    assert (_column(source, "decimalLatitude"), _column(source, "wing")) == ([48.137], [3.25])
    assert "records.csv: columns are divided by ';'" in source.notes


def test_quoted_cells_may_hold_delimiters_and_line_breaks(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg", "b.jpg")
    source = _open_text(tmp_path, 'file,occurrenceRemarks\r\na.jpg,"on a leaf,\r\nasleep"\r\nb.jpg,"a ""tail"""\r\n')
    assert _column(source, "occurrenceRemarks") == ["on a leaf,\r\nasleep", 'a "tail"']


def test_a_lone_quote_in_tab_separated_text_is_a_character(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg", "b.jpg")
    source = _open_text(tmp_path, 'file\tlocality\tsex\na.jpg\t"Rio\tmale\nb.jpg\tLago\tfemale\n', name="records.tsv")
    assert _column(source, "locality") == ['"Rio', "Lago"]


@pytest.mark.parametrize("second", ["x", '"y'])
def test_an_unclosed_quote_swallows_no_row(tmp_path: Path, second: str) -> None:
    _touch(tmp_path, "a.jpg", "b.jpg")
    source = _open_text(tmp_path, f'file,locality\na.jpg,"Rio\nb.jpg,{second}\n')
    assert _column(source, "locality") == ['"Rio', second]
    assert "records.csv: its quotes do not pair, so they are read as characters" in source.notes


def test_the_first_line_that_excel_adds_is_passed_over(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg")
    assert _column(_open_text(tmp_path, "sep=;\r\nfile;sex\r\na.jpg;male\r\n"), "sex") == ["male"]


def test_lines_with_another_number_of_cells_are_listed(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg")
    with pytest.raises(SourceError, match=r"records\.csv, row 3: 3 cells; the header has 2"):
        _open_text(tmp_path, "file,sex\na.jpg,male\nb.jpg,male,x\n")


def test_all_bad_numbers_of_a_table_are_told_at_once(tmp_path: Path) -> None:
    rows = "".join(f"{n}.jpg,N{n},{n + 200}\n" for n in range(30))
    with pytest.raises(SourceError) as caught:
        _open_text(tmp_path, f"file,lat,lon\n{rows}")
    text = str(caught.value)
    assert "records.csv, row 2: decimalLatitude 'N0' is not a number" in text
    assert "… and 40 more" in text
    assert '--column "verbatim_lat=lat"' in text


def test_the_advice_on_bad_numbers_works(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg")
    source = _open_text(tmp_path, "file,lat\na.jpg,N12\n", column_map={"verbatim_lat": "lat"})
    assert _column(source, "verbatim_lat") == ["N12"]


def test_impossible_months_and_latitudes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        SourceError, match=r"row 2: month 13 lies outside 1 … 12\n.*row 2: decimalLatitude 95 lies outside -90 … 90"
    ):
        _open_text(tmp_path, "file,lat,month\na.jpg,95,13\n")
    with pytest.raises(SourceError, match=r"year 2015\.5 is not a whole number"):
        _open_text(tmp_path, "file,year\na.jpg,2015.5\n")


def test_missing_words_are_missing_but_namibia_and_unknown_sex_are_not(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg", "b.jpg")
    source = _open_text(
        tmp_path,
        "file,genus,class,common,countryCode,sex,habitat,rightsHolder\n"
        "a.jpg,unknown,None,not provided,NA,unknown,none,not provided\nb.jpg,NA,,Cod,NO,NA,reef,Ana\n",
    )
    assert (_column(source, "genus"), _column(source, "class")) == ([None, None], [None, None])
    assert _column(source, "vernacularName") == [None, "Cod"]
    assert _column(source, "countryCode") == ["NA", "NO"]
    assert _column(source, "sex") == ["unknown", None]
    assert _column(source, "habitat") == ["none", "reef"]
    assert _column(source, "rightsHolder") == [None, "Ana"]


def test_a_lineage_keeps_its_holes(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg")
    source = _open_text(
        tmp_path, "file,kingdom,phylum,class,order,family,genus,species\na.jpg,,,,Gadiformes,,Gadus,morhua\n"
    )
    record = source.records.to_pylist()[0]
    lineage = [record[rank] for rank in ("kingdom", "phylum", "class", "order", "family", "genus", "species")]
    assert lineage == [None, None, None, "Gadiformes", None, "Gadus", "Gadus morhua"]


def test_a_manifest_describes_a_folder_and_unnamed_files_are_told(tmp_path: Path) -> None:
    folder = _touch(tmp_path / "images", "a/1.jpg", "a/2.jpg", "b/3.jpg")
    manifest = _table(tmp_path, "filename,sex\na\\1.jpg,male\n./b/3.jpg,female\n")
    source = open_source(folder, manifest=manifest)
    assert _column(source, "record_id") == ["a/1.jpg", "b/3.jpg"]
    assert "1 files are not named by records.csv and are left out: a/2.jpg" in source.notes


def test_a_file_is_found_by_its_name_where_that_is_unique(tmp_path: Path) -> None:
    folder = _touch(tmp_path / "images", "a/1.JPG", "a/2.jpg", "b/2.jpg", "b/3.jpg")
    manifest = _table(tmp_path, "file\n1.jpg\n2.jpg\n3\nb/3.jpg\n".replace("b/3.jpg\n", ""))
    source = open_source(folder, manifest=manifest)
    assert _column(source, "record_id") == ["a/1.JPG", "2.jpg", "b/3.jpg"]
    assert "1 files are not there and will be rejected: 2.jpg" in source.notes


def _found_at(tmp_path: Path, files: list[str], cells: list[str]) -> list[Any]:
    """Where each cell's file was found below the folder of images; None where it was not."""
    folder = _touch(tmp_path / "images", *files)
    source = open_source(folder, manifest=_table(tmp_path, "\n".join(["file,sex", *(f"{cell}," for cell in cells)])))
    uris = [Path(uri) for uri in _column(source, "uri")]
    assert [uri.relative_to(folder.resolve()).as_posix() for uri in uris if uri.is_file()] == [
        file for uri, file in zip(uris, _column(source, "file"), strict=True) if uri.is_file()
    ]
    return [uri.relative_to(folder.resolve()).as_posix() if uri.is_file() else None for uri in uris]


@pytest.mark.parametrize("other", ["siteA/2.jpg", "siteB/2.jpg"])
def test_a_missing_picture_is_never_replaced_by_another_sites(tmp_path: Path, other: str) -> None:
    files = ["siteB/IMG_0001.jpg", other]
    assert _found_at(tmp_path, files, ["siteA/IMG_0001.jpg", other]) == [None, other]
    cells = ["siteA/IMG_0001.jpg", "siteB/IMG_0001.jpg", "siteA\\IMG_0001"]
    assert _found_at(tmp_path, files, cells) == [None, "siteB/IMG_0001.jpg", None]


def test_a_file_that_two_rows_may_mean_goes_to_neither(tmp_path: Path) -> None:
    files = ["a/1.jpg", "a/2.jpg"]
    assert _found_at(tmp_path, files, ["1.jpg", "1.JPG", "a/2.jpg", "2.jpg"]) == [None, None, "a/2.jpg", None]
    assert _found_at(tmp_path, files, ["A/1.jpg", "a/1.JPG", "a/2.jpg"]) == [None, None, "a/2.jpg"]


def test_a_file_is_found_where_the_tables_folders_lay_elsewhere(tmp_path: Path) -> None:
    cells = ["C:\\photos\\siteA\\1.jpg", "old/trip/2.jpg"]
    assert _found_at(tmp_path, ["siteA/1.jpg", "2.jpg", "siteA/3.jpg"], cells) == ["siteA/1.jpg", "2.jpg"]


def test_a_sidecar_beside_an_image_leaves_its_name_unique(tmp_path: Path) -> None:
    files = ["a/1.jpg", "a/1.xmp", "2.jpg", "2.jpg.json", "a/3.jpg"]
    assert _found_at(tmp_path, files, ["1", "2", "A/3.JPG"]) == ["a/1.jpg", "2.jpg", "a/3.jpg"]


@pytest.mark.parametrize(("in_table", "on_disk"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_accents_are_found_in_either_unicode_form(tmp_path: Path, in_table: Any, on_disk: Any) -> None:
    there = unicodedata.normalize(on_disk, "São Tomé/é.jpg")
    for folder in ("", "images/"):  # below the folder of images, and below the table's own
        cells = [folder + unicodedata.normalize(in_table, "São Tomé/é.jpg"), "b.jpg"]
        assert _found_at(tmp_path, [there, "b.jpg"], cells) == [there, "b.jpg"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such names")
def test_files_whose_names_are_not_utf8_are_left_out_and_named(tmp_path: Path) -> None:
    _touch(tmp_path, "a\udce9.jpg")
    with pytest.raises(SourceError, match=r"no image in this folder.*not UTF-8: a\\xe9.jpg; rename them"):
        open_source(tmp_path)
    table = _table(_touch(tmp_path, "b.jpg"), "file\nb.jpg\nc.jpg\n")
    note = r"1 files are left out, since their names are not UTF-8: a\xe9.jpg; rename them"
    for source in (open_source(tmp_path), open_source(tmp_path, manifest=table)):
        assert _column(source, "file")[0] == "b.jpg"
        assert note in source.notes
    with pytest.raises(SourceError, match=r"x\\xff: the path is not UTF-8"):
        open_source(_touch(tmp_path / "x\udcff", "a.jpg"))


def test_a_table_none_of_whose_files_is_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"none of its 2 image files is under .* such as 'a.jpg'.*FOLDER --manifest"):
        _open_text(tmp_path, "file\na.jpg\nb.jpg\n")


def test_rows_without_a_file_are_left_out_with_a_note(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg")
    source = _open_text(tmp_path, "sex,file\nmale,\nfemale,a.jpg\n")
    assert _column(source, "sex") == ["female"]
    assert "records.csv: 1 rows name no image file and are left out: rows 2" in source.notes


def test_one_file_in_two_rows_is_refused_with_both_rows(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg")
    with pytest.raises(SourceError, match=r"row 4: image file 'a\.jpg' stands in row 3 too\n.*one row per image"):
        _open_text(tmp_path, "file,sex\n,male\na.jpg,male\n./a.jpg,female\n")


def test_web_addresses_are_counted_and_refused(tmp_path: Path) -> None:
    with pytest.raises(
        SourceError, match=r"2 of 3 images are web addresses, such as https://x.org/a.jpg.*Download them"
    ):
        _open_text(tmp_path, "uuid,image_url\n1,https://x.org/a.jpg\n2,\n3,gs://bucket/b.jpg\n")


def test_a_table_without_an_image_column_is_refused_with_its_columns(tmp_path: Path) -> None:
    with pytest.raises(
        SourceError, match=r"no column names the image files.*the columns are Species1, Beak.*--column file="
    ):
        _open_text(tmp_path, "Species1,Beak\nAus bus,3\n")


def test_a_unique_uuid_is_the_record_id_and_a_repeated_one_the_occurrence(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg", "b.jpg")
    unique = _open_text(tmp_path, "uuid,file\nu1,a.jpg\nu2,b.jpg\n")
    assert _column(unique, "record_id") == ["u1", "u2"]
    shared = _open_text(tmp_path, "uuid,file\nu1,a.jpg\nu1,b.jpg\n")
    assert _column(shared, "record_id") == ["a.jpg", "b.jpg"]
    assert _column(shared, "occurrence_id") == ["u1", "u1"]
    assert _column(shared, "uuid_given") == ["u1", "u1"]
    assert any("'uuid' is empty or repeated" in note for note in shared.notes)


def test_a_repeated_record_id_that_was_asked_for_is_refused(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg", "b.jpg")
    with pytest.raises(SourceError, match="row 3: record id '1' stands in row 2 too"):
        _open_text(tmp_path, "id,file\n1,a.jpg\n1,b.jpg\n", column_map={"record_id": "id"})


@pytest.mark.parametrize(
    ("header", "cells", "expected"),
    [
        ("occurrenceID,gbifID", "o1,9", "o1"),
        ("occurrenceID,gbifID", ",9", "9"),
        ("data_source,source_id", "gbif,44", "gbif:44"),
        ("institutionCode,collectionCode,catalogNumber", "NHM,Lep,007", "NHM:Lep:007"),
        ("institutionCode,catalogNumber", "NHM,007", "NHM:007"),
        ("catalogNumber,sex", "007,male", "a.jpg"),
        ("occurrenceID,sex", "12,male", "12"),
        ("observation_uuid,sex", "12,male", "12"),
        ("specimen_id,sex", "CAM012,male", "CAM012"),
    ],
)
def test_the_occurrence_is_the_best_identifier_a_record_has(
    tmp_path: Path, header: str, cells: str, expected: str
) -> None:
    _touch(tmp_path, "a.jpg")
    assert _column(_open_text(tmp_path, f"file,{header}\na.jpg,{cells}\n"), "occurrence_id") == [expected]


@pytest.mark.parametrize("column", ["specimen_id", "observation_id", "source_id", "uuid"])
def test_specimens_that_two_tables_number_alike_stay_two_occurrences(tmp_path: Path, column: str) -> None:
    found = []
    for site in ("siteA", "siteB"):
        _touch(tmp_path / site, "a.jpg", "b.jpg")
        found.append(_column(_open_text(tmp_path / site, f"file,{column}\na.jpg,1\nb.jpg,1\n"), "occurrence_id"))
    assert found == [["siteA/records.csv:1"] * 2, ["siteB/records.csv:1"] * 2]


def test_any_column_can_be_named_as_the_occurrence(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg", "b.jpg")
    source = _open_text(tmp_path, "file,specimen\na.jpg,s1\nb.jpg,s1\n", column_map={"occurrenceID": "specimen"})
    assert _column(source, "occurrence_id") == ["s1", "s1"]


def test_a_parquet_table_keeps_its_types_and_drops_lists_with_a_note(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg", "b.jpg")
    table = pa.table(
        {
            "file": pa.array(["a.jpg", "b.jpg"], pa.large_string()),
            "gbifID": pa.array([4436337979.0, None]),
            "species": pa.array(["Aus bus", ""]).dictionary_encode(),
            "latitude": pa.array([1.5, float("nan")], pa.float32()),
            "eventDate": pa.array([0, None], pa.timestamp("us")),
            "count": pa.array([3, 4], pa.int32()),
            "emb": pa.array([[1.0], [2.0]]),
            "row": pa.array([8, 9]),
        }
    )
    pq.write_table(table, tmp_path / "records.parquet")
    source = open_source(tmp_path / "records.parquet")
    assert _column(source, "gbifID") == ["4436337979", None]
    assert _column(source, "species") == ["Aus bus", None]
    assert _column(source, "decimalLatitude") == [1.5, None]
    assert _column(source, "eventDate") == ["1970-01-01", None]
    assert _column(source, "count") == [3, 4]
    assert _column(source, "row_given") == [8, 9]
    assert "records.parquet: left out, since they hold lists or bytes: emb" in source.notes


def test_numbers_that_are_not_finite_are_missing(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    values = [float("nan"), float("inf"), 5.0]
    columns = {"file": ["a.jpg", "b.jpg", "c.jpg"], "wing": values, "gbifID": values, "taxon": [0.5, *values[1:]]}
    pq.write_table(pa.table(columns | {"mass": pa.array(values, pa.float32())}), tmp_path / "records.parquet")
    source = open_source(tmp_path / "records.parquet")
    assert _column(source, "wing") == _column(source, "mass") == [None, None, 5.0]
    assert _column(source, "gbifID") == [None, None, "5"]
    assert _column(source, "scientificName") == ["0.5", None, "5"]


def test_a_column_with_a_number_beyond_a_float_stays_text(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg", "b.jpg")
    source = _open_text(tmp_path, "file,wing,mass\na.jpg,1e999,1e9\nb.jpg,5,NaN\n")
    assert (_column(source, "wing"), _column(source, "mass")) == (["1e999", "5"], [1e9, None])


def test_a_spreadsheet_and_a_broken_parquet_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"'.xlsx' is not a kind of table.*Save a spreadsheet as CSV"):
        _open_text(tmp_path, "x", name="records.xlsx")
    with pytest.raises(SourceError, match="not a readable Parquet file"):
        _open_text(tmp_path, "x", name="records.parquet")


@pytest.mark.parametrize(("text", "reason"), [("", "the table is empty"), ("file,sex\n", "a header but no row")])
def test_an_empty_table_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        _open_text(tmp_path, text)


def test_options_that_do_not_fit_the_source_are_refused(tmp_path: Path) -> None:
    table = _table(_touch(tmp_path, "a.jpg"), "file\na.jpg\n")
    with pytest.raises(SourceError, match="--manifest describes the images of a folder"):
        open_source(table, manifest=table)
    with pytest.raises(SourceError, match="--column needs a table"):
        open_source(tmp_path, column_map={"species": "label"})


def test_the_real_manifest_opens(shared_data: Path) -> None:
    source = open_source(shared_data / "images", manifest=shared_data / "images" / "manifest.csv")
    records = source.records.to_pylist()
    assert len(records) == 1544
    assert records[0]["record_id"] == "heliconius/10427966_D_lowres.png"
    assert records[0]["species"] == "Heliconius melpomene"
    assert all(Path(record["uri"]).is_file() and record["display_name"] for record in records)
    assert {record["genus"] for record in records if record["file"].startswith("heliconius")} == {"Heliconius"}


def test_real_exports_without_image_files_say_so(shared_data: Path) -> None:
    with pytest.raises(SourceError, match="1,306 of 1,309 images are web addresses"):
        open_source(shared_data / "records" / "inaturalist_export.csv")
    for name in ("names/sample.csv", "traits/AVONET1_BirdLife.csv"):
        with pytest.raises(SourceError, match="no column names the image files"):
            open_source(shared_data / name)


def test_a_thousands_point_is_no_decimal_point_where_numbers_have_decimal_commas(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    text = "file;Breite;Hoehe;Gewicht\na.jpg;48,123;1.200;1.234,5\nb.jpg;47,5;350;3,5\nc.jpg;46,1;400;2,5\n"
    source = open_source(_table(tmp_path, text))
    assert _column(source, "Hoehe") == [1200, 350, 400]
    assert _column(source, "Gewicht") == [1234.5, 3.5, 2.5]
    english = "file;Hoehe\na.jpg;1.200\nb.jpg;350\nc.jpg;400\n"
    assert _column(open_source(_table(tmp_path, english, name="english.csv")), "Hoehe") == [1.2, 350, 400]
