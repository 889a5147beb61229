"""The data: MATLAB's bicubic, one reader of pictures, LMDBs made and verified, and the dataset that reads them.

Modules are imported by name (`from rfdn_plugin.data import bicubic`); nothing heavy happens here, and only
`dataset` needs torch and BasicSR.
"""
