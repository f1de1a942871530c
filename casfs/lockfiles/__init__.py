"""Lock files and requirements, read and written."""
