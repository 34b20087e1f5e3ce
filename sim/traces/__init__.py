"""Traces: what a decoder's exits said, or what verifications accepted; read, written, made up, imported from logs."""
