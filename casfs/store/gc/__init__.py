"""Collecting: removing what nothing in a store needs."""
