"""The Streamlit app. Nothing outside this package imports Streamlit."""
