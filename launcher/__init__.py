"""What run.py does: environment, embedded PostgreSQL, secrets, serving, the command line."""
