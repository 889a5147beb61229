"""The leaderboard: how good and how costly each model is, in the field's units (`rfdn leaderboard`).

`options` reads the option file, `sets` and `entries` resolve what it names, `evaluate` measures quality, `complexity`
and `latency` the costs, `significance` tells differences from chance, `board` puts them together, and `tables` and
`report` write them down. `comparison.write_comparison` draws images side by side.
"""
