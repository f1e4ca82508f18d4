"""The alternatives to fedxray: each does the same work, and is written as its own documentation shows."""
