"""What a language model is asked: the paper's prompts by name, or a text file of the user's.

A template is the user's message with `{concept}` where the concept goes; the model's chat template is put around it
by the engine. Named prompts and where they are printed:

- `paper`: section 3.1, word for word.
- `released`: the one in the paper's published code, which lacks a word and has a colon more.
- `unconditioned`: appendix B.4, figure 5. It names no concept: all items are asked the same.
- `topics`: appendix B.4, figures 6 and 7. It names no concept either, but topics drawn for each item, and asks for ten
  captions in one answer, of which the item takes one (`cleaning.pick`). The paper does not tell how many topics a
  prompt names; ours names five. Ten captions need more tokens than one.
- `in-context`: appendix B.4, attempt 3. The paper prints one of its examples (the cat); the other two and the wording
  around them are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from typing import Protocol

from sharding.canonical import fingerprint
from sharding.ids import derive
from synthclip_hpc.config import BUILT_IN_PROMPTS
from synthclip_hpc.errors import UserError, nearest
from synthclip_hpc.paths import path_of

PLACE = "{concept}"
NUM_TOPICS = 5
_TOPICS_PLACE = "{sampled_topics_string}"


class Prompts(Protocol):
    """Where an item's template comes from."""

    @property
    def sha256(self) -> str:
        """Hash of everything that the prompts depend on, as 64 hexadecimal digits; where it was read from is not."""
        ...

    @property
    def num_captions(self) -> int:
        """Captions that one answer is to hold; of several, the item takes one."""
        ...

    def draw(self, seed: int) -> str:
        """Return the template of an item with this 64-bit seed, `{concept}` (if it has one) still in it."""
        ...


@dataclass(frozen=True)
class TemplatePrompts:
    """One template, or several of which each item's seed draws one: number `seed % len(templates)`."""

    templates: tuple[str, ...]
    num_captions: int = 1

    @cached_property
    def sha256(self) -> str:
        """Hash of the templates in order."""
        return fingerprint({"templates": self.templates})

    def draw(self, seed: int) -> str:
        """Return the seed's template."""
        return self.templates[seed % len(self.templates)]


@dataclass(frozen=True)
class TopicPrompts:
    """A template with a list of topics in it, which each item's seed draws from a bank."""

    template: str
    topics: tuple[str, ...]
    num_topics: int
    num_captions: int

    @cached_property
    def sha256(self) -> str:
        """Hash of template, topics and numbers."""
        return fingerprint(
            {"template": self.template, "topics": self.topics, "drawn": self.num_topics, "captions": self.num_captions}
        )

    def draw(self, seed: int) -> str:
        """Return the template with the seed's topics, all different, in the order in which they were drawn."""
        left = list(self.topics)
        drawn = [left.pop(derive(seed, number, "topic") % len(left)) for number in range(self.num_topics)]
        return self.template.replace(_TOPICS_PLACE, ", ".join(drawn))


def names_concept(prompts: Prompts) -> bool:
    """Tell whether items are asked about their concept."""
    return PLACE in prompts.draw(0)


def fill(template: str, concept: str) -> str:
    """Put the concept into a template, as it is: braces in a concept mean nothing."""
    return template.replace(PLACE, concept)


def find_prompts(name: str) -> Prompts:
    """Return the prompts of that name, or those of a text file: one template, white space around it stripped.

    Raises UserError for a file that is missing, unreadable, not UTF-8, empty, or without `{concept}`.
    """
    if name == "topics":
        topics = _packaged("topics_bank").split("\n")
        return TopicPrompts(_packaged(name), tuple(topics), num_topics=NUM_TOPICS, num_captions=10)
    if name in BUILT_IN_PROMPTS:
        return TemplatePrompts((_packaged(name),))
    return TemplatePrompts((_read_template(name),))


def _packaged(name: str) -> str:
    folder = resources.files("synthclip_hpc") / "captioning" / "prompts_data"
    return (folder / f"{name}.txt").read_text(encoding="utf-8").strip()


def _read_template(name: str) -> str:
    path = path_of("captions.prompt", name)
    try:
        text = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").strip()
    except FileNotFoundError as error:
        known = "" if "/" in name or "." in name else nearest(name, BUILT_IN_PROMPTS)
        raise UserError(
            f"captions.prompt={name}: no such prompt or file{known}. "
            f"Valid: {', '.join(BUILT_IN_PROMPTS)}, or the path of a text file with {PLACE} in it"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"captions.prompt={name}: byte {error.start} is not UTF-8; convert it, e.g. iconv -f latin1 -t utf-8"
        ) from error
    except OSError as error:
        raise UserError(f"captions.prompt={name}: cannot be read: {error}; name a readable text file") from error
    if not text:
        raise UserError(f"captions.prompt={name}: the file is empty; write what the model is asked, with {PLACE} in it")
    if PLACE not in text:
        raise UserError(f"captions.prompt={name}: wanted {PLACE} in it, where each item's concept goes; put it there")
    return text
