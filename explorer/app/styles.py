"""Styles: static CSS, ours alone. No text of a corpus ever passes through here."""

from __future__ import annotations

import streamlit as st

CSS = """
<style>
.stMainBlockContainer { padding-top: 3.4rem; padding-bottom: 3rem; max-width: 1500px; }
.stApp [data-testid="stText"] { font-family: inherit; white-space: pre-wrap; overflow-wrap: anywhere; font-size: inherit; }

/* the gallery */
[class*="st-key-gallery-"] {
  display: grid !important; gap: 1.1rem 0.9rem;
  grid-template-columns: repeat(auto-fill, minmax(186px, 1fr));
}
[class*="st-key-card-"] { gap: 0.1rem; height: 100%; }
[class*="st-key-card-"] [data-testid="stImage"], [class*="st-key-card-"] [data-testid="stImageContainer"] { width: 100%; }
[class*="st-key-card-"] [data-testid="stImage"] img {
  width: 100%; height: 178px; object-fit: contain; background: #F1F0EC; border-radius: 6px;
}
[class*="st-key-noimage-"] { height: 178px; background: #F1F0EC; border-radius: 6px; justify-content: center; color: #8A8A85; }
[class*="st-key-noimage-"] [data-testid="stText"] { width: 100%; text-align: center; font-size: 0.8rem; }
[class*="st-key-name-"] { font-weight: 600; font-size: 0.92rem; line-height: 1.25; padding-top: 0.35rem; }
[class*="st-key-name-"] [data-testid="stText"], [class*="st-key-credit-"] [data-testid="stText"],
[class*="st-key-traits-"] [data-testid="stText"] {
  display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 2; overflow: hidden;
}
[class*="st-key-traits-"] { font-size: 0.82rem; color: #4A4A47; line-height: 1.25; }
[class*="st-key-close-"] { font-size: 0.82rem; color: #1F5F4B; line-height: 1.3; font-variant-numeric: tabular-nums; }
[class*="st-key-others-"] { font-size: 0.78rem; color: #6B5A1E; line-height: 1.25; }
[class*="st-key-credit-"] { font-size: 0.74rem; color: #6E6E69; line-height: 1.25; margin-bottom: auto; }
[class*="st-key-act-"] { gap: 0 0.8rem; padding-top: 0.15rem; }
[class*="st-key-act-"] button { padding: 0; min-height: 1.4rem; border: 0; }
[class*="st-key-act-"] button p { font-size: 0.78rem; }

/* parts of the query */
[class*="st-key-chip-"] {
  background: #EEF3F1; border: 1px solid #D3E0DA; border-radius: 999px; padding: 0.1rem 0.35rem 0.1rem 0.75rem;
  width: fit-content; max-width: 100%; gap: 0.4rem; min-height: 2.1rem;
}
[class*="st-key-chip-away-"] { background: #F8EFEA; border-color: #EAD6CB; }
[class*="st-key-chip-"] [data-testid="stText"] { font-size: 0.85rem; }
[class*="st-key-chip-"] img { width: 26px; height: 26px; object-fit: cover; border-radius: 50%; }
[class*="st-key-chip-"] button { padding: 0 0.3rem; min-height: 1.4rem; border: 0; }

/* messages and small print */
[class*="st-key-problem-"] { background: #FBEDE9; border-left: 4px solid #B5472F; border-radius: 4px; padding: 0.7rem 0.9rem; }
[class*="st-key-note-"] { background: #F1F4F2; border-left: 4px solid #7FA094; border-radius: 4px; padding: 0.6rem 0.9rem; }
[class*="st-key-small-"] { font-size: 0.8rem; color: #63635E; line-height: 1.35; }
[class*="st-key-count"] { font-weight: 600; font-size: 0.95rem; }
[class*="st-key-column-"] { font-size: 0.84rem; font-weight: 600; }
[class*="st-key-corpusname"] { font-size: 1.15rem; font-weight: 650; }

/* the record view */
.st-key-facts { display: grid !important; grid-template-columns: minmax(7rem, 13rem) 1fr; gap: 0.25rem 1rem; font-size: 0.86rem; }
[class*="st-key-term-"] { color: #6E6E69; }
.st-key-portrait img { width: 100%; max-height: 62vh; object-fit: contain; background: #F1F0EC; border-radius: 6px; }
.st-key-portrait [data-testid="stImage"], .st-key-portrait [data-testid="stImageContainer"] { width: 100%; }
.st-key-recordname { font-size: 1.25rem; font-weight: 650; }

[data-testid="stFileUploaderDropzone"] { padding: 0.55rem 0.8rem; min-height: 2.6rem; }
[data-testid="stSidebarUserContent"] { padding-top: 0.4rem; }
</style>
"""


def apply_styles() -> None:
    """Put the style sheet into the page."""
    st.html(CSS)
