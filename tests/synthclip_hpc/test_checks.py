"""Which captions are rejected, for which reason, and which ordinary ones are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthclip_hpc.captioning.answers import checks
from synthclip_hpc.captioning.answers.checks import reject_reason


def judge(caption: str, concept: str = "cat", max_words: int = 15, require_concept: bool = False) -> str | None:
    return reject_reason(caption, concept, max_words=max_words, require_concept=require_concept)


@pytest.mark.parametrize(
    "caption",
    [
        "A red fox crosses a snowy road at dawn.",
        "cat",
        "猫が座っている。",
        "猫がソファの上で眠っていて窓の外では雨が静かに降っている午後の部屋の風景です。",
        "חתול יושב על הגדר ליד הבית.",
        "حصان أبيض يركض في الحقل.",
        "एक बिल्ली काका का घर में बैठी है।",
        "แมวนั่งอยู่บนกำแพง",
        "New York, New York at night",
        "A very very big dog",
        "Duran Duran on stage",
        "A man in white pants is playing music with a man in a red shirt and another.",
        "Mississippi riverboat at dawn",
        "100000000 balloons over a bay",
        "I am a cat, says the sign on the door",
        "As a storm nears, sailors lower the sails",
        "As an AI robot paints, people watch",
        "As an assistant pours wine, guests laugh",
        "No cars cross the bridge",
        "No, thanks, says the sign",
        "A sorry-looking dog in the rain",
        "It is not dark yet over the bay",
        "I can see mountains from the train",
        "A poster that reads we are here to help",
        "An illustration of the concept of time",
        "A newspaper page with a photo and a caption below",
        "A sentence written on a blackboard",
        "I can't wait to see the sea",
        "I can't see the forest for the trees, painted in oil.",
        "I can't help falling in love",
        "I cannot help but smile at a puppy",
        "Well, well: three cats on a fence",
    ],
)
def test_ordinary_captions_of_any_script_pass(caption):
    assert judge(caption, max_words=0) is None


@pytest.mark.parametrize(
    ("reason", "caption"),
    [
        ("empty", ""),
        ("empty", " \n"),
        ("no_letters", "123 456"),
        ("no_letters", "..."),
        ("no_letters", "🐕 🐈"),
        ("refusal", "I'm sorry, but I cannot write that."),
        ("refusal", "I’m sorry but that is not possible."),
        ("refusal", "I am unable to create captions about this."),
        ("refusal", "I cannot provide a caption for this."),
        ("refusal", "I can't assist with that request."),
        ("refusal", "I won't be able to describe this."),
        ("refusal", "I cannot do that."),
        ("refusal", "I cannot see."),
        ("refusal", "I can't see any images."),
        ("refusal", "I cannot see the attached picture, please send it again."),
        ("refusal", "I can't help with that."),
        ("refusal", "I cannot help you."),
        ("refusal", "I can't really describe this."),
        ("refusal", "No, I cannot describe a scene using only the text above."),
        ("refusal", "As an AI language model, I do not see."),
        ("refusal", "As a large language model I have no eyes."),
        ("refusal", "I am an AI designed to assist you."),
        ("refusal", "Sorry, that is not something to describe."),
        ("refusal", "Apologies for the confusion."),
        ("refusal", "Unfortunately, I do not know this word."),
        ("refusal", "It is not appropriate to depict this."),
        ("echo", "The image caption includes and visually describes a scene around a concept of a sea turtle."),
        ("echo", "Your task is to write about a dog."),
        ("echo", "Crafted with care, this caption aims to please."),
        ("echo", "A scene around the concept of a pistol."),
        ("echo", "I'm here to help you craft your words."),
        ("echo", "A perfect 15-word caption of a koala."),
        ("echo", "Output one single grammatically correct line."),
        ("loop", "The tractor tractor tractor stands in a field."),
        ("loop", "Tractor, tractor; TRACTOR!"),
        ("loop", "The red cat the red cat the red cat"),
        ("loop", "A vibrant and warm field, vibrant and warm, as a vibrant and warm field"),
        ("loop", "猫、猫、猫。"),
        ("loop", "美しい猫美しい猫美しい猫美しい猫"),
        ("loop", "hahahahaha"),
        (
            "too_long",
            "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen",
        ),
    ],
)
def test_unusable_captions_are_rejected_with_the_reason(reason, caption):
    assert judge(caption) == reason
    assert reason in checks.REASONS


def test_the_longest_caption_allowed_has_as_many_words_as_the_limit():
    caption = "one two three four five"
    assert [judge(caption, max_words=limit) for limit in (4, 5, 6, 0)] == ["too_long", None, None, None]


@pytest.mark.parametrize(
    ("caption", "concept", "there"),
    [
        ("A cat sits.", "cat", True),
        ("A CAT sits.", "cat", True),
        ("The cat's bowl", "Cat", True),
        ("Cats sit.", "cat", False),
        ("A concatenation", "cat", False),
        ("A tomcat and a cat", "cat", True),
        ("A golden retriever runs.", "golden retriever", True),
        ("A golden, old retriever runs.", "golden retriever", False),
        ("A St. Bernard sits.", "St. Bernard", True),
        ("C++ on a screen", "C++", True),
        ("The (cat)", "cat", True),
        ("Room 42 is open", "42", True),
        ("Room 421 is open", "42", False),
        ("Eine Straße bei Nacht", "STRASSE", True),
        ("猫が座っている。", "猫", True),
        ("犬が座っている。", "猫", False),
        ("הכלב יושב", "כלב", True),
        ("القطة تجلس", "قطة", True),
        ("القطة تجلس", "القطة", True),
        ("A кот sits", "кот", True),
        ("A котик sits", "кот", False),
    ],
)
def test_the_concept_is_looked_for_as_whole_words(caption, concept, there):
    assert judge(caption, concept, require_concept=True) == (None if there else "concept_missing")
    assert judge(caption, concept, require_concept=False) is None


def test_every_reason_is_told_once():
    assert len(set(checks.REASONS)) == len(checks.REASONS) == 7


@given(st.text(), st.text(min_size=1), st.integers(0, 20), st.booleans())
def test_any_text_is_judged(caption, concept, max_words, require_concept):
    reason = judge(caption, concept, max_words, require_concept)
    assert reason is None or reason in checks.REASONS
    if reason is None:
        assert any(character.isalpha() for character in caption)
        assert not max_words or len(caption.split()) <= max_words
