"""What fedxray is measured against, each written as its own documentation would, doing the same work."""
