"""Which failures belong together, what became of a shard, which are tried again: `failures`, `why`, `resume only=`."""
