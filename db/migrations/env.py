"""Alembic's entry: runs on the connection it is handed (see db/session.py), never on a URL of its own."""

from alembic import context

import db.models  # noqa: F401 - registers the tables
from db.base import Base
from db.models.scale import is_modelled

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    render_as_batch=True,
    transaction_per_migration=False,
    include_name=is_modelled,
)
context.run_migrations()
