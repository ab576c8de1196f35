"""More questions than can be answered in time: how many wait, what is taken, who hears it."""
