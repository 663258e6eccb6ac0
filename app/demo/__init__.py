"""The demo: a corpus every Python carries in itself, and questions on it judged by hand."""
