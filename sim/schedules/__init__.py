"""One file per way of decoding. A file here knows tokens, rows and passes; it never learns a time."""
