"""The software CPU as an engine: the reference, anywhere, without privileges."""

from .engine import SoftEngine as SoftEngine
