"""The judges, one a file; import the file that you need."""
