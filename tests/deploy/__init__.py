"""Tests of what brings the relay onto a server: compose files, proxies, units."""
