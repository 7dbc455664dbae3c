"""Invented names that read like Latin binomials and English common names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

ONSETS = (
    "b",
    "br",
    "c",
    "cl",
    "d",
    "f",
    "g",
    "gr",
    "l",
    "m",
    "n",
    "p",
    "ph",
    "pl",
    "r",
    "s",
    "st",
    "t",
    "th",
    "tr",
    "v",
)
VOWELS = ("a", "a", "e", "e", "i", "i", "o", "o", "u", "ae", "y")
CODAS = ("", "", "n", "r", "l", "s", "m", "x")
EPITHET_ENDINGS = ("ata", "ella", "ensis", "ina", "osa", "ula", "alis", "idea")
PLACE_STARTS = (
    *(
        "Ald",
        "Ard",
        "Bas",
        "Bram",
        "Bux",
        "Cald",
        "Carl",
        "Cors",
        "Dal",
        "Den",
        "Dor",
        "Dun",
        "Ells",
        "Fal",
        "Gar",
        "Hal",
    ),
    *("Hex", "Kel", "Kes", "Lang", "Lor", "Mal", "Mil", "Nor", "Ox", "Pem", "Pen", "Rad", "Rud", "Sel", "Tad", "Wex"),
)
PLACE_ENDS = ("by", "bury", "combe", "den", "don", "ham", "ley", "low", "mond", "ton", "wick", "worth")
GROUP_STARTS = ("b", "bl", "ch", "d", "f", "g", "k", "l", "m", "n", "p", "pl", "r", "s", "sk", "t", "tw", "wh")
GROUP_ENDS = (
    "abbet",
    "addle",
    "arrow",
    "assel",
    "ebbin",
    "endle",
    "errel",
    "ibbet",
    "indle",
    "ipple",
    "obbin",
    "unnet",
)


class NameMaker:
    """Gives names from one random stream, none of them twice."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.used: set[str] = set()

    def choose(self, parts: Sequence[str]) -> str:
        """One of the parts, at random."""
        return parts[int(self.rng.integers(len(parts)))]

    def make_stem(self) -> str:
        """Two Latin-looking syllables in lower case, ready for an ending."""
        return self._unused(
            lambda: "".join(self.choose(ONSETS) + self.choose(VOWELS) for _ in range(2)) + self.choose(CODAS)
        )

    def make_epithet(self) -> str:
        """A species epithet in lower case."""
        return self._unused(
            lambda: self.choose(ONSETS) + self.choose(VOWELS) + self.choose(ONSETS) + self.choose(EPITHET_ENDINGS)
        )

    def make_place(self) -> str:
        """A place-like first half of a common name, such as `Bramley`."""
        return self._unused(lambda: self.choose(PLACE_STARTS) + self.choose(PLACE_ENDS))

    def make_group(self) -> str:
        """The second half of a common name, shared by a family, such as `chindle`."""
        return self._unused(lambda: self.choose(GROUP_STARTS) + self.choose(GROUP_ENDS))

    def _unused(self, make: Callable[[], str]) -> str:
        for _ in range(10_000):
            name = make()
            if name not in self.used and 4 <= len(name) <= 13:
                self.used.add(name)
                return name
        raise RuntimeError(f"no unused name left after {len(self.used)} names")
