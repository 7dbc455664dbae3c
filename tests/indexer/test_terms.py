import pytest

from indexer.errors import SourceError
from indexer.names import TaxonName, complete_name, read_binomial, read_folder_name
from indexer.terms import NUMBERS, TERMS, assign_columns, canonical_columns, find_term, own_name


@pytest.mark.parametrize(
    ("written", "term"),
    [
        ("scientificName", "scientificName"),
        ("Scientific Name", "scientificName"),
        ("taxon_name", "scientificName"),
        ("common", "vernacularName"),
        ("common_name", "vernacularName"),
        ("taxon_class_name", "class"),
        ("life_stage", "lifeStage"),
        ("lng", "decimalLongitude"),
        ("observed_on", "eventDate"),
        ("data_source", "datasetName"),
        ("source_dataset", "datasetName"),
        ("source_url", "identifier"),
        ("image_url", "identifier"),
        ("licence", "license"),
        ("license_name", "license"),
        ("copyright_owner", "rightsHolder"),
        ("dwc:sex", "sex"),
        ("dcterms:rightsHolder", "rightsHolder"),
        ("http://rs.tdwg.org/dwc/terms/decimalLatitude", "decimalLatitude"),
        ("file_name", "file"),
        ("Image Path", "file"),
        ("field:interaction->visited flower of", None),
        ("Min.Latitude", None),
        ("label", None),
    ],
)
def test_column_names_met_in_the_wild_are_recognised(written: str, term: str | None) -> None:
    assert find_term(written) == term


def test_every_term_recognises_itself_and_every_numeric_term_is_one() -> None:
    assert [find_term(term) for term in TERMS] == list(TERMS)
    assert set(NUMBERS) <= set(TERMS)


def test_the_canonical_spelling_wins_and_the_loser_keeps_its_name() -> None:
    names = ["scientific_name", "scientificName", "latitude", "lat"]
    assert canonical_columns(names) == {"scientificName": "scientificName", "latitude": "decimalLatitude"}
    assigned = assign_columns(names, {}, where="t.csv")
    assert assigned["scientific_name"] == "scientific_name"
    assert assigned["lat"] == "lat"


def test_an_asked_column_takes_the_term_and_displaces_the_natural_one() -> None:
    assigned = assign_columns(["file", "species", "label"], {"species": "label"}, where="t.csv")
    assert assigned == {"file": "file", "species": "label", "species_2": "species"}


def test_the_file_column_may_serve_a_second_term() -> None:
    assigned = assign_columns(["file", "sex"], {"occurrenceID": "file"}, where="t.csv")
    assert assigned == {"file": "file", "sex": "sex", "occurrenceID": "file"}


def test_a_column_can_be_kept_under_a_name_that_is_no_term() -> None:
    assigned = assign_columns(["file", "lat"], {"verbatim_lat": "lat"}, where="t.csv")
    assert assigned == {"file": "file", "verbatim_lat": "lat"}


def test_a_misspelt_term_is_refused_with_the_likely_one() -> None:
    with pytest.raises(SourceError, match=r"'specie' is not a Darwin Core term.*Did you mean 'species'"):
        assign_columns(["file", "label"], {"specie": "label"}, where="t.csv")


def test_a_misspelt_column_is_refused_with_the_columns_there_are() -> None:
    with pytest.raises(SourceError, match=r"no column 'lable'.*the columns are file, label.*Did you mean 'label'"):
        assign_columns(["file", "label"], {"species": "lable"}, where="t.csv")


def test_two_columns_for_one_term_are_refused() -> None:
    with pytest.raises(SourceError, match="'a' and 'b' are both to be decimalLatitude"):
        assign_columns(["file", "a", "b"], {"lat": "a", "decimalLatitude": "b"}, where="t.csv")


def test_own_names_hold_no_dot_and_differ_by_more_than_case() -> None:
    assert own_name("Beak.Length", []) == "Beak_Length"
    assert own_name("Habitat", ["habitat"]) == "Habitat_2"
    assert own_name("status", []) == "status_given"
    assert own_name("uuid", []) == "uuid_given"  # an export with vectors adds a uuid


@pytest.mark.parametrize(
    ("name", "binomial"),
    [
        ("Heliconius melpomene", "Heliconius melpomene"),
        ("Heliconius melpomene rosina_N", "Heliconius melpomene"),
        ("Mesocentrotus franciscanus (A.Agassiz, 1863)", "Mesocentrotus franciscanus"),
        ("Parus major Linnaeus, 1758", "Parus major"),
        ("Erythronium albidum(Liliaceae)", "Erythronium albidum"),
        ("Bombus (Pyrobombus) hypnorum", "Bombus hypnorum"),
        ("Dudleya abramsii ssp. murina", "Dudleya abramsii"),
        ("Capsella bursa-pastoris (L.) Medik.", "Capsella bursa-pastoris"),
        ("Ia io", "Ia io"),
    ],
)
def test_a_binomial_is_read_with_or_without_authority(name: str, binomial: str) -> None:
    assert str(read_binomial(name)) == binomial


@pytest.mark.parametrize(
    "name",
    [
        *(
            "Aus sp.",
            "Stachys sp. 3",
            "Aus cf. bus",
            "Aus aff. bus",
            "Aus nr. bus",
            "Sclerocactus species",
            "Aus indet.",
        ),
        *("Iris X tenax", "Iris x tenax", "Quercus alba × rubra", "×Heucherella tiarelloides", "Aus bus x Cus dus"),
        *("Tipula", "Iristenuissima", "Ammophila de Geer", "Vespa van der Vecht", "Penstemon 'MESA'", "Aus Linnaeus"),
        *("Tobacco mosaic virus", "Red fox", "African elephant", "Aus bus/cus", "Aus bus?", "Aus bus complex"),
        *(
            "Heliconius melpomene_N",
            "PARUS MAJOR",
            "Parus Major",
            "parus major",
            "Adelie Penguin (Pygoscelis adeliae)",
            "",
        ),
    ],
)
def test_no_binomial_is_made_up(name: str) -> None:
    assert read_binomial(name) is None


def test_a_species_given_as_epithet_becomes_a_binomial() -> None:
    name = complete_name(TaxonName(genus="Heliconius", species="erato"))
    assert (name.species, name.epithet) == ("Heliconius erato", "erato")
    assert complete_name(TaxonName(genus="Heliconius", epithet="erato")).species == "Heliconius erato"


def test_a_species_given_as_binomial_stays_and_gives_the_genus() -> None:
    name = complete_name(TaxonName(species="Heliconius erato"))
    assert (name.genus, name.species, name.epithet) == ("Heliconius", "Heliconius erato", None)


def test_an_epithet_without_genus_is_no_species_where_genera_are_known() -> None:
    assert complete_name(TaxonName(species="alba")) == TaxonName(epithet="alba")
    assert complete_name(TaxonName(species="alba"), genus_known=False).species == "alba"
    assert complete_name(TaxonName(species="alba", scientific="Rosa alba L.")).species == "Rosa alba"


def test_an_open_name_is_no_species_but_is_kept_as_scientific_name() -> None:
    name = complete_name(TaxonName(genus="Aus", species="Aus sp. 1"))
    assert (name.scientific, name.genus, name.species) == ("Aus sp. 1", "Aus", None)
    assert complete_name(TaxonName(genus="Aus", species="sp.")).species is None
    assert complete_name(TaxonName(genus="Aus", species="Aus")).species is None


def test_a_species_is_not_taken_from_a_name_of_higher_rank_or_another_genus() -> None:
    assert complete_name(TaxonName(scientific="Aus bus", rank="genus")).species is None
    assert complete_name(TaxonName(scientific="Aus bus", genus="Cus")).species is None
    assert complete_name(TaxonName(scientific="Aus bus L.")).species == "Aus bus"


def test_a_species_in_other_words_stays_as_written() -> None:
    assert complete_name(TaxonName(species="Red fox")) == TaxonName(species="Red fox")
    assert complete_name(TaxonName()) == TaxonName()


@pytest.mark.parametrize(
    ("folder", "species", "scientific"),
    [
        ("Heliconius_melpomene", "Heliconius melpomene", "Heliconius melpomene"),
        ("heliconius melpomene", "Heliconius melpomene", "Heliconius melpomene"),
        ("Parus major Linnaeus, 1758", "Parus major", "Parus major Linnaeus, 1758"),
        ("017_Heliconius_melpomene_rosina", "Heliconius melpomene", "Heliconius melpomene rosina"),
        ("Heliconius_melpomene_dorsal", "Heliconius melpomene", "Heliconius melpomene"),
        ("Heuchera rubescens var. alpicola", "Heuchera rubescens", "Heuchera rubescens var. alpicola"),
    ],
)
def test_a_folder_named_after_a_species_gives_it(folder: str, species: str, scientific: str) -> None:
    name = read_folder_name(folder)
    assert name is not None
    assert (name.species, name.scientific) == (species, scientific)


@pytest.mark.parametrize(
    "folder",
    ["camera_trap", "red_fox", "White-tailed deer", "photos", "DCIM", "test_set", "2024-05-01", "Aus_sp", "site a"],
)
def test_other_folders_give_no_species(folder: str) -> None:
    assert read_folder_name(folder) is None
