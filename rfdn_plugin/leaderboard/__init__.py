"""The leaderboard: how good and how costly each model is, in the field's units (`rfdn leaderboard`).

`options` reads the option file, `preparation` finds what it names, `board` runs the steps, `result` puts the figures
together. `measure` holds the steps: sets and entries, quality, costs, speed, significance. `report` writes the tables.
"""
