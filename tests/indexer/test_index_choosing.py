from __future__ import annotations

import pytest

from indexer.errors import InputError
from indexer.index.choosing import BITS, choose_kind, code_bytes, read_memory
from indexer.index.lists import load_faiss

PLENTY = 10**12


def test_an_index_is_exact_until_one_core_needs_50_ms() -> None:
    assert choose_kind(200_000, 768, memory=PLENTY).kind == "exact"
    assert choose_kind(200_001, 768, memory=PLENTY).kind == "ivf-rabitq"
    assert choose_kind(150_001, 1024, memory=PLENTY).kind == "ivf-rabitq"
    assert choose_kind(300_000, 512, memory=PLENTY).reason == "300,000 vectors <= 300,000"


def test_half_a_million_vectors_need_at_most_130_bytes_each() -> None:
    choice = choose_kind(500_000, 768, memory=PLENTY)
    assert choice.bytes_in_memory <= 130 * 500_000
    assert choice.n_lists == 2121


def test_vectors_that_do_not_fit_the_memory_get_codes() -> None:
    choice = choose_kind(100_000, 768, memory=20_000_000)
    assert choice.kind == "ivf-rabitq"
    assert choice.reason == "154 MB of vectors, --memory allows 20 MB"


def test_codes_that_do_not_fit_the_memory_either_are_refused_with_what_they_need() -> None:
    with pytest.raises(InputError, match=r"needs 14,115,328 bytes \(14\.1 MB\) in memory, --memory allows 1 MB"):
        choose_kind(100_000, 768, memory=1_000_000)


def test_longer_codes_are_named_and_say_why() -> None:
    choice = choose_kind(500_000, 768, memory=PLENTY, n_bits=4)
    assert choice.kind == "ivf-rabitq4"
    assert choice.reason.endswith("codes of 4 bits because shorter ones missed the recall asked for")


@pytest.mark.parametrize("n_bits", BITS)
@pytest.mark.parametrize("dimension", [2, 7, 64, 100, 768])
def test_the_size_of_a_code_is_that_of_faiss(dimension: int, n_bits: int) -> None:
    faiss = load_faiss()
    quantizer = faiss.IndexFlatIP(dimension)
    index = faiss.IndexIVFRaBitQ(quantizer, dimension, 4, faiss.METRIC_INNER_PRODUCT, True, n_bits)
    assert code_bytes(dimension, n_bits) == index.code_size


@pytest.mark.parametrize(
    ("text", "n_bytes"), [("4GB", 4 * 10**9), ("512 MiB", 2**29), ("1.5g", 15 * 10**8), ("2e9", 2 * 10**9)]
)
def test_sizes_are_read_as_people_write_them(text: str, n_bytes: int) -> None:
    assert read_memory(text) == n_bytes


@pytest.mark.parametrize("text", ["", "much", "4 parsecs", "-1GB", "0", "1.2.3GB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="not a size; write a number with kB, MB, GB or TB"):
        read_memory(text)
