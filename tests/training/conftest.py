from helpers.fixtures import options

__all__ = ['options']
