"""Use cases: one function, one transaction. Nothing here knows of Streamlit or the command line."""
