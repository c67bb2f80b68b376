"""The thin library behind the scripts: silent, never parses a command line, never picks a path."""
