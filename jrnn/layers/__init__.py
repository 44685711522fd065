"""SEQUENCES: cells over time, and the few other layers that models need."""
