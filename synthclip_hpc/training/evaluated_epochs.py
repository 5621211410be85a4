"""Which of a training's own models are evaluated: their checkpoints have to be kept."""

from __future__ import annotations

from synthclip_hpc.errors import UserError, nearest

_WORDS = ("last", "all", "every:5", "none")


def evaluated_epochs(checkpoints: str, epochs: int) -> tuple[int, ...]:
    """Return the epochs that `eval.checkpoints` names out of 1 to `epochs`, rising; the last is always among them.

    `none` is none at all. Raises UserError for another word.
    """
    if checkpoints == "none":
        return ()
    if checkpoints == "last":
        return (epochs,)
    every = 1 if checkpoints == "all" else _number(checkpoints)
    return (*range(every, epochs, every), epochs)


def _number(checkpoints: str) -> int:
    word, colon, number = checkpoints.partition(":")
    if word != "every" or not colon or not (number.isascii() and number.isdigit()) or int(number) < 1:
        raise UserError(
            f"eval.checkpoints={checkpoints}: not known{nearest(checkpoints, _WORDS)}; valid: last, all, none, and "
            "every:N with a whole number of epochs, such as every:5"
        )
    return int(number)
