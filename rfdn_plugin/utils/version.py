"""Version of the package: a module of its own, so that no part needs the root package, which imports them all."""

__version__ = '0.2.0'
