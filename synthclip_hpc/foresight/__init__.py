"""What work will cost before it is done: shards, time, GPU hours, energy, and where each number comes from."""
