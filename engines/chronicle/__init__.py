"""The chronicle: who tells the log, and traces, what became of each signal."""
