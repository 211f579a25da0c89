"""How the demo is unless told otherwise."""

SPEED = 30.0
"""How many times as fast as ours the market's time goes: a session in 13 minutes."""

SEED = 7
SCENARIOS = ("bar-close", "finviz-blocked", "destination-down", "sell-all")
