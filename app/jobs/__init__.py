"""Long work: durable workflows behind a small face. DBOS is known here and nowhere else."""
