"""The rules that make captions of answers are part of every plan by their version alone: here is what it stands for."""

from __future__ import annotations

import hashlib
import json

from synthclip_hpc.captioning.answers.checks import reject_reason
from synthclip_hpc.captioning.answers.cleaning import RULES_VERSION, clean, pick

GOLDEN = {2: "9f133c0935aabfd5fc50d29833f4c22620aa3f88acc07619cd4b69758d005833"}
"""Rules version -> hash of what the rules make of `ANSWERS`. A version that was released keeps its line for ever."""

ANSWERS = (
    # plain, and awkward on purpose
    "A red fox crosses a snowy road at dawn.",
    "a dog",
    "A St. Bernard rests beside Dr. Miller in the U.S. Capitol.",
    "The No. 5 train leaves Mt. Fuji behind. It is late.",
    '"Go" and "stop" signs hang on a wall',
    "'Tis the season for snow",
    'A television of 27"',
    "A quiet lake... and a lonely boat",
    "A concept car: sleek, silver and low",
    "Sure-footed goats climb a cliff",
    "Great, grey mountains at noon",
    "\u732b\u304c\u5ea7\u3063\u3066\u3044\u308b\u3002\u72ac\u304c\u8d70\u308b\u3002",
    "\u05d7\u05ea\u05d5\u05dc \u05d9\u05d5\u05e9\u05d1 \u05e2\u05dc \u05d4\u05d2\u05d3\u05e8.",
    "A \U0001f415\u200d\U0001f9ba in a park",
    # around the caption
    '"A cat sits on a mat."',
    "\u201cA cat sits on a mat. It purrs.\u201d",
    "\u00ab Un chat assis. \u00bb",
    "**A cat** sits *softly* on `velvet`.",
    "1. A cat sits on a mat.",
    "## A cat sits on a mat.",
    "```\nA cat sits on a mat.\n```",
    "Sure! Here is a caption: A cat sits on a mat.",
    "Sure, a fox runs in snow.",
    "Certainly!\n\nA cat sits on a mat.",
    "Here is your caption.\nA cat sits on a mat.",
    "Caption: A cat sits on a mat.",
    "Caption 1: A fox runs in snow.",
    "Assistant: A fox runs in snow.",
    "Image: A fox runs in snow.",
    "Title: Winter\nA fox runs in snow.",
    "Concept: cat\nCaption: A cat sits on a mat.",
    "<caption>A fox runs in snow.</caption>",
    'I\'ll say: "A cat sits on a mat."',
    "A cat sits on a mat. (6 words)",
    "A cat sits on a mat - 6 words",
    "Chessboard. A world of pure logic. It is old.",
    "A cat\tsits\x07 on\x00 a \ufffdmat\u2028It purrs.",
    "A cafe\u0301 at night",
    # lists
    "Here are 10 captions:\n1. A cat.\n2. **A dog.**\n3. A fox with a br",
    "<caption>A cat sits.</caption>\n<caption>A dog runs.</caption>",
    "A cat sits.\n***\nA dog runs.\nThe end",
    # nothing, or nothing usable
    "",
    " \n\t ",
    "Sure!",
    "Here is a caption:",
    "123 456",
    "\U0001f415 \U0001f408",
    "I'm sorry, but I cannot write that.",
    "I\u2019m unable to see the image.",
    "As an AI language model, I have no eyes.",
    "Unfortunately, I do not know this word.",
    "I can't see the forest for the trees, painted in oil.",
    "I can't help falling in love",
    "I cannot help with that.",
    "Your task is to write about a dog.",
    "A perfect 15-word caption of a koala.",
    "I'm here to help you craft your words.",
    "The tractor tractor tractor stands in a field.",
    "A vibrant and warm field, vibrant and warm, as a vibrant and warm field",
    "hahahahaha",
    "New York, New York at night",
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen",
    "A tomcat on a mat",
    "CATS and a Cat's bowl",
)


def test_rules_that_answer_otherwise_have_another_version():
    found: list[list[str | None]] = []
    for raw in ANSWERS:
        for seed in (0, 1, 2**63):
            picked = pick(raw, seed)
            found.append([picked, clean(picked)])
        caption = clean(raw)
        for required in (False, True):
            found.append([caption, reject_reason(caption, "cat", max_words=15, require_concept=required)])
    digest = hashlib.sha256(json.dumps(found).encode()).hexdigest()
    assert GOLDEN.get(RULES_VERSION, digest) == digest, (
        "the rules make other captions of the same answers than at their version: raise RULES_VERSION in "
        "captioning/answers/cleaning.py, so that no run mixes the two"
    )
    assert RULES_VERSION in GOLDEN, f"add what the new rules come to: GOLDEN[{RULES_VERSION}] = {digest!r}"


def test_the_answers_meet_every_verdict():
    from synthclip_hpc.captioning.answers.checks import REASONS

    captions = [clean(raw) for raw in ANSWERS]
    met = {reject_reason(caption, "cat", max_words=15, require_concept=True) for caption in captions}
    assert met == {None, *REASONS}
    assert len(set(ANSWERS)) == len(ANSWERS) >= 60
