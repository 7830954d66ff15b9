"""The web console at `/`: what runs on this machine, for a person to look at."""
