"""Weights for another scale: the upsampler resampled, or solved from images."""
