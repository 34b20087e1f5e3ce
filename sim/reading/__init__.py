"""Reading descriptions: YAML and JSON with the place of every entry, units, kinds and sources; one line per mistake."""
