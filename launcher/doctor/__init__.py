"""`run.py doctor`: what an operator would look at one by one, each with what to do about it."""
