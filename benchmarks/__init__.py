"""Recurrent layers of several libraries timed side by side; README.md says how."""
