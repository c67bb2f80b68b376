"""One file, one artefact. Each runs alone: python -m scripts.NAME --help."""
