"""Stands for xgboost in processes that tests start: see ``tests/conftest.py``."""

raise ImportError("hidden from processes that tests start, where nothing tunes with it: importing it takes long")
