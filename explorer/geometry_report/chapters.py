"""The sections of the report, in the order of reading."""

from __future__ import annotations

from explorer.geometry_report.between_section import BETWEEN
from explorer.geometry_report.comparison_section import COMPARISON
from explorer.geometry_report.spectrum_section import SPECTRUM
from explorer.geometry_report.suspects_section import SUSPECTS
from explorer.geometry_report.within_section import WITHIN

SECTIONS = (BETWEEN, WITHIN, SPECTRUM, COMPARISON, SUSPECTS)
