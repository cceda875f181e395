"""What the library does under fire: damaged files, killed processes, two processes at once."""
