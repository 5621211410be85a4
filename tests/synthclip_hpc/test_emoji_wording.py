"""Short captions for emoji: forms, what is drawn into them, and that pictures can be drawn of all."""

from __future__ import annotations

import collections

import pytest

from sharding.ids import derive, item_id
from synthclip_hpc.captioning.banks.bank import read_bank
from synthclip_hpc.captioning.engines.emoji_wording import COLOURS, companions, read_emoji_templates, with_choices
from synthclip_hpc.captioning.engines.engine import Request
from synthclip_hpc.captioning.engines.template import TemplateEngine, template_prompts
from synthclip_hpc.captioning.prompts import fill
from synthclip_hpc.captioning.registry import check_engine, identity_of, prompts_of
from synthclip_hpc.config import CaptionsConfig, TemplateConfig
from synthclip_hpc.errors import UserError
from synthclip_hpc.rendering.glyphs.named import NamedDrawings, read_demo_classes, read_emoji
from synthclip_hpc.rendering.glyphs.wording import BACKGROUNDS, read_wording

EMOJI = CaptionsConfig(template=TemplateConfig(wording="emoji"))


def caption(template: str, concept: str, seed: int) -> str:
    return with_choices(Request(concept, fill(template, concept), seed))


def test_the_demo_bank_is_the_rows_marked_for_it():
    bank = read_bank("emoji-demo")
    assert bank.concepts == tuple(read_demo_classes()) == companions()
    assert len(bank.concepts) == 100
    assert set(bank.concepts) < set(read_emoji())
    assert bank.source == "built in: emoji-demo"


def test_there_are_187_forms_most_of_which_say_a_name_alone():
    forms = read_emoji_templates()
    assert len(forms) == len(set(forms)) == 187
    assert {form.count("{concept}") for form in forms} == {1}
    assert sum("{colour}" in form for form in forms) == 27
    assert sum("{other}" in form for form in forms) == 16
    assert not any("{colour}" in form and "{other}" in form for form in forms)
    assert forms[0] == "{concept}"


def test_colours_are_the_renderers():
    assert tuple(BACKGROUNDS) == COLOURS


def test_captions_draw_what_they_name_and_nothing_else():
    named = NamedDrawings(list(read_emoji()), "exact")
    for number, form in enumerate(read_emoji_templates()):
        for concept in ("onion", "package", "sun"):
            text = caption(form, concept, number)
            (drawn,) = named.find([text])
            assert drawn[0] == concept
            assert len(drawn) == 1 + ("{other}" in form), text
            wording = read_wording(text)
            assert (wording.background is not None) == ("{colour}" in form), text
            assert (wording.effect, wording.scale, wording.many) == (None, None, False)


def test_a_second_concept_is_any_but_the_first_and_follows_from_the_seed():
    drawn = [caption("{concept} and {other}", "goat", seed).removeprefix("goat and ") for seed in range(3000)]
    assert drawn == [caption("{concept} and {other}", "goat", seed).removeprefix("goat and ") for seed in range(3000)]
    assert set(drawn) == set(companions())
    pairs = [caption("{concept} and {other}", "pig", seed).removeprefix("pig and ") for seed in range(3000)]
    assert set(pairs) == set(companions()) - {"pig"}


def test_colours_are_drawn_evenly():
    counts = collections.Counter(caption("{concept} on {colour}", "pig", seed) for seed in range(2200))
    assert set(counts) == {f"pig on {colour}" for colour in COLOURS}
    assert min(counts.values()) > 140  # 200 on average
    assert max(counts.values()) < 260


def test_the_engine_answers_with_the_filled_form():
    batch = [Request("pig", "pig and {other}", 1), Request("pig", "a pig icon", 2)]
    assert TemplateEngine().generate(batch) == [with_choices(batch[0]), "a pig icon"]
    assert "{" not in with_choices(batch[0])


def test_the_wording_is_chosen_by_its_key_and_part_of_what_captions_are_made_of():
    assert prompts_of(EMOJI) == template_prompts("emoji")
    assert prompts_of(CaptionsConfig()) == template_prompts("clip") == template_prompts()
    clip, emoji = (identity_of(config, None, prompts_of(config)) for config in (CaptionsConfig(), EMOJI))
    assert clip["captions.prompt.sha256"] != emoji["captions.prompt.sha256"]
    assert set(emoji) - set(clip) == {"captions.wording_choices"}


def test_an_unknown_wording_is_refused():
    with pytest.raises(UserError, match=r"captions\.template\.wording=emojis: .*did you mean 'emoji'"):
        check_engine(CaptionsConfig(template=TemplateConfig(wording="emojis")))


def test_240_draws_give_150_different_captions_on_average_whatever_the_seed():
    forms = read_emoji_templates()
    for run_seed in (0, 1):
        texts = set()
        for concept in companions():
            seeds = [derive(run_seed, item_id(concept, n), "caption") for n in range(240)]
            texts |= {caption(forms[seed % 187], concept, seed) for seed in seeds}
        assert 15_400 < len(texts) < 15_900
