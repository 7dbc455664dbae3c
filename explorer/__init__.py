"""Questions and faces: search, maps, export; the command line and the Streamlit app."""
