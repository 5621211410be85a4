"""Checkpoints: what training goes on from, safe against a kill at any moment and against a second writer.

    checkpoints/step-00001234/                        published: state.pt and checkpoint.json, whole and never changed
    checkpoints/.step-00001234.ATTEMPT.tmp/           of one attempt, at work or killed
    checkpoints/.step-00001234.TOKEN.gone/            on its way out

A folder is written under the name of its attempt, flushed, and appears under its final name by one rename, which the
kernel refuses when something stands there already: that is the only commit. What is removed is first renamed as well,
so that no name ever leads to a half of something. An attempt that was taken for dead may live on and do all of this at
the same time: a folder that is renamed away under its hands makes its own save fail, and that is all that happens.

The manifest holds the size and the sha256 of the state, and a fingerprint of itself. Bytes are given to torch only
after they were compared with it.
"""
