"""What every stage stands on: rings, counters, demand, the stage contract and systemd notification."""
