"""Boards: what lies where."""
