"""Bring the streaming student to microcontrollers."""
