"""The tasks of the current release that release 1.0.0 does not have, a file for each family."""
