"""RFDN, the residual feature distillation network (arXiv 2009.11551), and its family as a plugin of BasicSR."""

__version__ = '0.1.0'
