"""What a training reads: dataset, sampler, loader, and images held in memory."""
