"""The chain of the audit trail: who binds each event to all before it."""
