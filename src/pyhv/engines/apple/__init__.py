"""Apple's own framework as an engine: its entry says honestly that this version cannot use it yet."""

from .engine import AppleEngine as AppleEngine
