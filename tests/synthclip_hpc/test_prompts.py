"""What models are asked: the prompts by name as printed, drawn by seed, and a user's own file."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest

from sharding.ids import derive
from synthclip_hpc.captioning.engines.engine import Request
from synthclip_hpc.captioning.engines.template import TemplateEngine, read_templates, template_prompts
from synthclip_hpc.captioning.prompts import NUM_TOPICS, TopicPrompts, fill, find_prompts, names_concept
from synthclip_hpc.config import BUILT_IN_PROMPTS
from synthclip_hpc.errors import UserError

SEEDS = [derive(0, number, "test") for number in range(300)]

PAPER = (
    "Your task is to write me an image caption that includes and visually describes a scene around a concept. "
    "Your concept is {concept}. Output one single grammatically correct caption that is no longer than 15 words. "
    "Do not output any notes, word counts, facts, etc. Output one single sentence only."
)


def test_the_papers_prompt_is_word_for_word_that_of_section_3_1():
    assert find_prompts("paper").draw(7) == PAPER


def test_the_released_prompt_differs_by_a_colon_and_a_missing_word():
    expected = PAPER.replace("concept is {", "concept is: {").replace("grammatically correct", "grammatically")
    assert find_prompts("released").draw(7) == expected
    assert len(expected) == len(PAPER) + 1 - len(" correct")


@pytest.mark.parametrize("name", ["paper", "released", "in-context"])
def test_a_prompt_that_names_the_concept_has_one_place_for_it(name):
    assert find_prompts(name).draw(0).count("{concept}") == 1


@pytest.mark.parametrize("name", BUILT_IN_PROMPTS)
def test_no_other_place_is_left_open(name):
    text = fill(find_prompts(name).draw(3), "red fox")
    assert "{" not in text
    assert text == text.strip()


def test_the_unconditioned_prompt_names_no_concept():
    prompts = find_prompts("unconditioned")
    assert {prompts.draw(seed) for seed in SEEDS} == {prompts.draw(0)}
    assert fill(prompts.draw(0), "red fox") == prompts.draw(0)
    assert prompts.draw(0).startswith("You are an expert image descriptions generator.")
    assert prompts.draw(0).endswith("artist or photographer name, and more.")


def test_the_in_context_prompt_has_the_papers_example():
    assert "Concept: cat\nCaption: A beautiful cat sitting near Eiffel tower\n" in find_prompts("in-context").draw(0)


@pytest.mark.parametrize("name", BUILT_IN_PROMPTS)
def test_only_topics_asks_for_several_captions(name):
    assert find_prompts(name).num_captions == (10 if name == "topics" else 1)


@pytest.fixture
def topics() -> TopicPrompts:
    prompts = find_prompts("topics")
    assert isinstance(prompts, TopicPrompts)
    return prompts


def test_topics_are_those_of_figure_6(topics):
    assert len(topics.topics) == len(set(topics.topics)) == 97
    assert topics.topics[:3] == ("Space", "Celestial Bodies", "Nature")
    assert topics.topics[-2:] == ("Robots", "Futuristic")
    assert "Fantasy, Mythology, and Folklore" in topics.topics
    assert not [topic for topic in topics.topics if topic.startswith("and ") or topic != topic.strip()]


def test_each_item_has_topics_of_its_own_in_the_text_of_figure_7(topics):
    template = topics.draw(SEEDS[0])
    line, other = (
        next(line for line in topics.draw(seed).split("\n") if line.startswith("Concept List: ")) for seed in SEEDS[:2]
    )
    assert line != other
    assert template.endswith("Please provide me with 10 captions following all the rules above.")
    assert template == topics.draw(SEEDS[0])
    found = [topic for topic in topics.topics if topic in line.removeprefix("Concept List: ")]
    assert len(found) >= NUM_TOPICS


def test_topics_of_an_item_are_distinct_and_all_topics_are_drawn(topics):
    bare = TopicPrompts("{sampled_topics_string}", tuple("abcdefgh"), num_topics=3, num_captions=10)
    draws = [bare.draw(seed).split(", ") for seed in SEEDS]
    assert {len(set(draw)) for draw in draws} == {3}
    counts = Counter(topic for draw in draws for topic in draw)
    assert sorted(counts) == list("abcdefgh")
    assert max(counts.values()) < 2 * min(counts.values())


@pytest.mark.parametrize("concept", ["{concept}", "{}", "{0}", "%s", "a\\1b", "{sampled_topics_string}", "猫"])
def test_a_concept_is_put_in_as_it_is(concept):
    assert fill("a photo of {concept}, {concept} again", concept) == f"a photo of {concept}, {concept} again"


def test_every_set_of_prompts_has_a_hash_of_its_own(tmp_path):
    own = tmp_path / "own.txt"
    own.write_text("Describe {concept}.", encoding="utf-8")
    hashes = [find_prompts(name).sha256 for name in (*BUILT_IN_PROMPTS, str(own))] + [template_prompts().sha256]
    assert len(set(hashes)) == len(BUILT_IN_PROMPTS) + 2
    assert {len(one) for one in hashes} == {64}


def test_the_hash_is_of_the_text_and_not_of_where_it_lies(tmp_path):
    paths = [tmp_path / name for name in ("a.txt", "b.md", "c.txt")]
    for path, text in zip(
        paths, ("Describe {concept}.\n", "\ufeffDescribe {concept}.", "Describe a {concept}."), strict=True
    ):
        path.write_text(text, encoding="utf-8")
    one, same, other = (find_prompts(str(path)) for path in paths)
    assert one.sha256 == same.sha256 != other.sha256
    assert one.draw(5) == "Describe {concept}."


@pytest.mark.parametrize("change", [{"topics": ("a",)}, {"num_topics": 1}, {"num_captions": 3}, {"template": "x"}])
def test_each_part_of_topic_prompts_is_in_the_hash(change):
    prompts = TopicPrompts("{sampled_topics_string}", ("a", "b"), num_topics=2, num_captions=10)
    assert dataclasses.replace(prompts, **change).sha256 != prompts.sha256


def test_lines_of_a_users_file_are_kept(tmp_path):
    path = tmp_path / "own.txt"
    path.write_bytes(b"\r\nFirst line.\r\n\r\n  {concept} here \r\n\r\n")
    assert find_prompts(str(path)).draw(1) == "First line.\n\n  {concept} here"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "empty"),
        (b" \n\t\n", "empty"),
        (b"Describe a concept.", "wanted {concept} in it"),
        (b"Describe {Concept}.", "wanted {concept} in it"),
        ("Beschreibe schön {concept}.".encode("latin1"), "byte 14 is not UTF-8"),
    ],
)
def test_an_unusable_file_is_refused_with_what_is_wrong(tmp_path, content, told):
    path = tmp_path / "own.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"captions.prompt={path}: .*") as error:
        find_prompts(str(path))
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("papers", "no such prompt or file (did you mean 'paper'?)"),
        ("incontext", "did you mean 'in-context'?"),
        ("./nowhere.txt", "no such prompt or file. Valid: paper, released, unconditioned, topics, in-context"),
        ("~nobody-of-that-name/x", "there is no such user"),
        ("/", "cannot be read"),
    ],
)
def test_a_name_that_is_nothing_is_refused(name, told):
    with pytest.raises(UserError) as error:
        find_prompts(name)
    assert str(error.value).startswith(f"captions.prompt={name}: ")
    assert told in str(error.value)


def test_prompts_that_name_the_concept_are_told_from_those_that_do_not(tmp_path):
    own = tmp_path / "own.txt"
    own.write_text("Describe {concept}.")
    found = {name for name in (*BUILT_IN_PROMPTS, str(own)) if names_concept(find_prompts(name))}
    assert found == {"paper", "released", "in-context", str(own)}


def test_the_template_prompts_are_clips_eighty_drawn_by_the_seed():
    templates = read_templates()
    assert len(templates) == len(set(templates)) == 80
    assert {template.count("{concept}") for template in templates} == {1}
    assert templates[0] == "a bad photo of a {concept}."
    assert [template_prompts().draw(seed) for seed in SEEDS] == [templates[seed % 80] for seed in SEEDS]


def test_the_template_engine_is_slowed_to_the_rate_asked_for(monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    monkeypatch.setattr("time.monotonic", lambda: 5.0)
    batch = [Request("fox", f"a photo of fox {number}.", number) for number in range(30)]
    assert TemplateEngine().generate(batch) == [request.prompt for request in batch]
    assert slept == []
    assert TemplateEngine(items_per_s=60).generate(batch) == [request.prompt for request in batch]
    assert slept == [0.5]
