"""`synthclip-hpc <verb>`: one name for all entry points."""

from __future__ import annotations

import importlib
import sys

from synthclip_hpc.errors import nearest

VERBS = {
    "submit": "plan stages and start them",
    "preview": "write a few captions and show how they come about",
    "coverage": "which concepts a set of captions covers, before and after balancing",
    "sample": "a contact sheet of the images there are so far",
    "probe": "do one shard as a job, measure it, and forecast the rest",
    "report": "write the report of a run as it stands",
    "status": "what is done, what runs, what failed",
    "failures": "what failed, grouped, and whom each group follows",
    "why": "one shard's whole story",
    "resume": "start again what is neither finished nor alive",
    "cancel": "end what is alive",
    "verify": "check all checksums",
    "repair": "reopen what verify found bad",
    "clean": "remove what is not needed any more",
}


def main() -> int:
    """Hand the rest of the command line to the verb's own entry point."""
    verb = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if verb in ("-h", "--help"):
        print("usage: synthclip-hpc <verb> [key=value ...]\n")
        print("\n".join(f"  {name:<8} {text}" for name, text in VERBS.items()))
        print("\nEach verb has its own --help; `python -m synthclip_hpc.<verb>` is the same.")
        return 0
    if verb not in VERBS:
        print(f"error: {verb!r} is no verb{nearest(verb, VERBS)}. Valid: {', '.join(VERBS)}", file=sys.stderr)
        return 2
    sys.argv = [f"synthclip-hpc {verb}", *sys.argv[2:]]
    result: int = importlib.import_module(f"synthclip_hpc.{verb}").main()
    return result


if __name__ == "__main__":
    sys.exit(main())
