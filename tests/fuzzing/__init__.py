"""Damaged input of every kind, made from seeds, and what must hold for each; used by benchmarks/fuzz.py too."""
