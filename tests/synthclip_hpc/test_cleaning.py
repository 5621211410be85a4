"""From raw answers to captions: what is dropped, and that what is clean stays as it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthclip_hpc.captioning.answers.cleaning import clean, pick

CLEAN = [
    "A red fox crosses a snowy road at dawn.",
    "a dog",
    "A St. Bernard rests beside Dr. Miller in the U.S. Capitol.",
    "J. K. Rowling signs books at 9 p.m. in London.",
    "A 3.5 metre tall wall of ice, seen from below",
    "The No. 5 train leaves Mt. Fuji behind.",
    "A quiet lake... and a lonely boat",
    "A man ... sits on a bench",
    "Where did the cat go?!",
    '"Go" and "stop" signs hang on a wall',
    'A sign says "Stop. Go back." near a road.',
    'A bottle labelled "Drink me"',
    "'Tis the season for snow",
    "The dogs' bowl is full",
    "A dog’s bowl",
    "She said “hello” to ‘Bob’",
    'A television of 27"',
    "A hat (red, with a feather) on a chair",
    "A man and a sign (note the hat)",
    "5 * 3 * 2 written on a blackboard",
    "snake_case on a screen",
    "A concept car: sleek, silver and low",
    "Here comes the sun over Paris",
    "Here is a dog on a red mat",
    "Sure-footed goats climb a cliff",
    "A sign: keep out",
    "A picture of a lake: calm, blue and cold",
    "Great Danes run on a beach",
    "Yes men in suits nod",
    "Yes, we have no bananas, says a sign",
    "Great, grey mountains at noon",
    "Surely a storm comes",
    "Picture this: a fox on the moon",
    "A photo album: old and torn",
    "Image of a fox in a mirror",
    "An assistant: white coat and a smile",
    "Assistants carry boxes",
    "Titles glow on a marquee",
    "A key labelled <Enter>",
    "5 < 7 > 3 on a blackboard",
    "3 dogs play",
    "-5 degrees on a thermometer",
    "#1 on a jersey",
    "猫が座っている。",
    "「猫」と書かれた看板",
    "حصان أبيض يركض في الحقل.",
    "חתול יושב על הגדר.",
    "एक बिल्ली बैठी है।",
    "A 🐕‍🦺 in a park",
]


@pytest.mark.parametrize("caption", CLEAN)
def test_a_clean_caption_comes_out_unchanged(caption):
    assert clean(caption) == caption


@pytest.mark.parametrize(
    ("raw", "caption"),
    [
        # white space, control and broken characters
        ("  A  cat\tsits. \n", "A cat sits."),
        ("A cat\x07 sits\x00.", "A cat sits ."),
        ("A cat sits\ufffd", "A cat sits"),
        ("A cat \udc80sits", "A cat sits"),
        ("A cafe\u0301 at night", "A caf\u00e9 at night"),
        # quotes
        ('"A cat sits."', "A cat sits."),
        ('"A cat sits".', "A cat sits."),
        ('"A cat sits.".', "A cat sits."),
        ("'A dog's bowl.'", "A dog's bowl."),
        ("“A cat sits.”", "A cat sits."),
        ("‘The dog’s bowl.’", "The dog’s bowl."),
        ("« Un chat assis. »", "Un chat assis."),
        ("„Eine Katze sitzt.“", "Eine Katze sitzt."),
        ("「猫が座っている。」", "猫が座っている。"),
        ("\"'A cat sits.'\"", "A cat sits."),
        ('"She said "hi" to me."', 'She said "hi" to me.'),
        ('"A cat sits on a wall', "A cat sits on a wall"),
        ('A cat sits on a wall."', "A cat sits on a wall."),
        ('""', ""),
        # markdown, numbers, bullets
        ("**A cat** sits *softly* on `velvet`.", "A cat sits softly on velvet."),
        ("__A cat sits.__", "A cat sits."),
        ("***A cat sits.***", "A cat sits."),
        ("1. A cat sits.", "A cat sits."),
        ("(2) A cat sits.", "A cat sits."),
        ("- A cat sits.", "A cat sits."),
        ("• **A cat sits.**", "A cat sits."),
        ("## A cat sits.", "A cat sits."),
        ("> A cat sits.", "A cat sits."),
        ("```\nA cat sits.\n```", "A cat sits."),
        # lead-ins
        ("Sure! Here is a caption: A cat sits.", "A cat sits."),
        ("Sure, here's one for you: “A cat sits.”", "A cat sits."),
        ("Of course! Here is a caption: A cat sits.", "A cat sits."),
        ("Certainly!\n\nA cat sits.", "A cat sits."),
        ("Here is your caption.\nA cat sits.", "A cat sits."),
        ("Caption: A cat sits.", "A cat sits."),
        ("**Caption:** A cat sits.", "A cat sits."),
        ("Image caption: “A cat sits.”", "A cat sits."),
        ('The image caption for this task is: "A cat sits."', "A cat sits."),
        ('The sentence is: "A cat sits."', "A cat sits."),
        ('I\'ll make it: "A cat sits."', "A cat sits."),
        ("Here's a possible example of the sentence:\nA cat sits.", "A cat sits."),
        ("I'm ready. In your caption I will describe it:\n\nA cat sits.", "A cat sits."),
        ("Concept: cat\nCaption: A cat sits on a mat.", "A cat sits on a mat."),
        ("Concept: a cat in the rain, wet and cold", "a cat in the rain, wet and cold"),
        ("Title: Winter\nA fox runs in snow.", "A fox runs in snow."),
        ("**Title:** A Walk in the Snow at Dawn\n\nA fox runs in snow.", "A fox runs in snow."),
        ("Sure!\nTitle: Winter\nCaption: A fox runs in snow.", "A fox runs in snow."),
        ("Title: Winter", "Winter"),
        ("Caption 1: A fox runs.", "A fox runs."),
        ("Caption #2: A fox runs.", "A fox runs."),
        ("Assistant: A fox runs.", "A fox runs."),
        ("AI Assistant:\nA fox runs.", "A fox runs."),
        ("Image: A fox runs.", "A fox runs."),
        ("The photo: A fox runs.", "A fox runs."),
        ("Sure, a fox runs in snow.", "a fox runs in snow."),
        ("Of course, here is one: A fox runs.", "A fox runs."),
        ("<caption>A fox runs.</caption>", "A fox runs."),
        ("<caption>\nA fox runs.\n</caption>", "A fox runs."),
        ('<IMAGE_CAPTION>"A fox runs."</IMAGE_CAPTION>', "A fox runs."),
        ("<caption>A fox runs in", "A fox runs in"),
        ("<caption></caption>", ""),
        ("Sure!", ""),
        ("Here is a caption:", ""),
        # notes
        ("A cat sits on a mat. (15 words)", "A cat sits on a mat."),
        ("A cat sits on a mat (Word count: 6)", "A cat sits on a mat"),
        ("A cat sits on a mat. [Note: no facts.]", "A cat sits on a mat."),
        ("A cat sits on a mat - 6 words", "A cat sits on a mat"),
        # further sentences and lines
        ("A cat sits on a mat. It is red. It is old.", "A cat sits on a mat."),
        ("A cat sits on a mat.\n\nThis caption has six words.", "A cat sits on a mat."),
        ("Who is on the mat?! A cat.", "Who is on the mat?!"),
        ("A boat on a lake... The sun sets.", "A boat on a lake..."),
        ('A man shouts "Stop!" The dog runs.', 'A man shouts "Stop!"'),
        ('"A cat sits on a mat. It purrs."', "A cat sits on a mat."),
        ("Chessboard. A world of pure logic. It is old.", "A world of pure logic."),
        ("Chessboard. Logic.", "Chessboard."),
        ("猫が座っている。犬が走る。", "猫が座っている。"),
        ("رجل يقرأ كتابا في الحديقة. الجو جميل اليوم.", "رجل يقرأ كتابا في الحديقة."),
        ("A cat sits by Dr. Who. It purrs.", "A cat sits by Dr. Who."),
        # nothing
        ("", ""),
        (" \n\t\n ", ""),
        ("\x00\x01", ""),
    ],
)
def test_what_is_around_a_caption_goes(raw, caption):
    assert clean(raw) == caption
    assert clean(caption) == caption


PIECES = st.sampled_from(
    [
        *"\"'“”‘’«»„「」.!?…。:*_`#>-()[]0189 \n\t\r\x0b\u2028\x85\ufeff\u0301aA猫ا",
        "1. ",
        "Dr. ",
        "Sure! ",
        "Caption: ",
        "Title: ",
        "Sure, ",
        "Assistant: ",
        "<caption>",
        "</caption>",
        "Here is ",
        "A cat",
    ]
)


@given(st.one_of(st.text(), st.lists(PIECES, max_size=25).map("".join)))
def test_cleaning_twice_is_cleaning_once_whatever_the_text(raw):
    once = clean(raw)
    assert clean(once) == once
    assert "\n" not in once
    assert once == " ".join(once.split())
    once.encode("utf-8")


@given(st.lists(PIECES, max_size=25).map("".join), st.integers(0, 2**64 - 1))
def test_a_picked_line_is_one_of_the_answers(raw, seed):
    picked = pick(raw, seed)
    assert picked in raw
    assert len(picked.splitlines()) <= 1 or "\x1c" in picked


@pytest.mark.parametrize(
    "piece", ['"', "(", "**", "1. ", "A. ", "A cat. ", "Sure! ", "Sure, ", "Title: ", "<text>", "` ", "_a_ ", "I'm: "]
)
def test_long_nonsense_is_clean_at_the_end(piece):
    once = clean(piece * 2000)
    assert clean(once) == once
    assert len(once) <= len(piece * 2000)


LIST = "Sure! Here are 10 captions:\n\n1. A cat.\n2. **A dog.**\n\n3. A fox.\nI hope they help!"


def test_the_seed_picks_among_the_lines_of_a_list():
    assert [clean(pick(LIST, seed)) for seed in range(4)] == ["A cat.", "A dog.", "A fox.", "A cat."]


def test_without_a_list_the_seed_picks_among_the_lines_that_are_captions():
    raw = "Here are 10 captions:\n\nA cat sits.\n***\nA dog runs."
    assert [pick(raw, seed) for seed in range(3)] == ["A cat sits.", "A dog runs.", "A cat sits."]


def test_a_last_line_that_was_cut_off_is_not_picked():
    raw = "1. A cat sits on a mat.\n2. A dog runs on a beach.\n3. A fox with a br"
    assert {pick(raw, seed) for seed in range(10)} == {"1. A cat sits on a mat.", "2. A dog runs on a beach."}


def test_a_last_line_that_a_tag_ends_is_picked():
    raw = "<caption>A cat sits.</caption>\n<caption>A dog runs.</caption>"
    assert [clean(pick(raw, seed)) for seed in range(3)] == ["A cat sits.", "A dog runs.", "A cat sits."]


def test_a_single_line_is_picked_as_it_is():
    assert {pick("1. A fox with a br", seed) for seed in range(3)} == {"1. A fox with a br"}


@pytest.mark.parametrize("raw", ["", "\n\n", "Here are 10 captions:\n"])
def test_nothing_is_picked_where_nothing_is(raw):
    assert pick(raw, 12345) == ""
