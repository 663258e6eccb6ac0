"""What the workspace remembers: tables, migrations and queries. Imports nothing by itself."""
