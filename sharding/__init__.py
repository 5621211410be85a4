"""Which items, who works on them, what is done: restartable batch work over shard files on a shared file system.

A phase of work is a `Plan`: a fixed, hashed division of its items into shards. One shard is one output file and one
marker. Attempts may be killed at any moment and may overlap; what they leave behind always converges to the same files,
because

- a partial file belongs to one attempt and is append-only (`partial.RecordLog`, `tar_log.TarLog`); a successor copies
  its longest valid prefix,
- an output appears under its final name whole or not at all, and the first one stays (`publication.publish_shard`),
- the marker is written after the output and is the only truth about a shard (`marker.is_done`),
- a finished phase is sealed by one manifest of its markers (`seal.write_seal`), whose hash is what the next phase
  builds on; then its markers may be folded into one file (`folding.fold_markers`).

No locks, no server, no clock comparison between hosts. Nothing here knows Slurm or torch, and pyarrow is imported only
by the functions of `table` that use it.
"""
