"""Small helpers that every other folder uses: errors, atomic files, progress."""
