"""The data: MATLAB's bicubic, one reader of images, LMDBs made and verified, and the dataset that reads them.

Modules are imported by name (`from rfdn_plugin.data import bicubic`); nothing heavy happens here, and only
`dataset` needs torch and BasicSR.
"""


def register_with_basicsr() -> None:
    """Make BasicSR's DATASET_REGISTRY know `FastPairedImageDataset`, which registers itself."""
    import rfdn_plugin.data.training.dataset  # noqa: F401
