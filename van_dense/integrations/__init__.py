"""Bridges to other code bases; nothing else in the package imports them, or what they bridge to."""
