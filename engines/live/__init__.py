"""Live: what happens, told to whoever has a socket open."""
