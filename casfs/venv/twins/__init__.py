"""Manifests laid out as directories, which an overlay shows without asking any daemon."""
