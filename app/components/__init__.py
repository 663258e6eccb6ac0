"""What several screens draw: passages, grades, tables, charts, keys. Text from data is escaped here."""
