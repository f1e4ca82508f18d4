"""Attacks on what a federation sends and on what a model gives away, so that claims of privacy are tested."""
