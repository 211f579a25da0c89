"""A made-up market: a Finviz, a destination and a stream of alerts, for the demo and for tests."""
