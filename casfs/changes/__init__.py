"""Plain virtual environments: one becomes an environment of casfs, or the reverse."""
