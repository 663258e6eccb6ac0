"""The verbs of the command line, by subject; each opens the workspace, calls services and prints the result."""
