"""Access: who may do what, decided from tokens and sessions."""
