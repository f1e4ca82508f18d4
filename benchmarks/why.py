"""Why a row missed its target, in words, by the row's name: written by hand, and shown where a target is missed."""

WHY = {}
