"""Destinations: how the relay speaks to addresses other people chose."""
