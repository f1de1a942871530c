"""casfs shows a Python virtual environment as a virtual tree over a content-addressed pool of wheel files.

Data flows through the folders in this order; each imports only from those before it:
errors, digest, paths -> wheels -> store -> venv -> mount -> cli.
"""

__version__ = "0.1.0"
