"""The report on a space's geometry: what is measured, how it is said, drawn, kept and written."""
