"""From items to answers: who is asked, in which order, with which seeds, and what comes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from sharding.ids import derive
from synthclip_hpc.captioning.answers.answering import Answer, Item, Rules, answer_batch
from synthclip_hpc.captioning.engines.engine import Request
from synthclip_hpc.captioning.engines.template import TemplateEngine, template_prompts
from synthclip_hpc.captioning.prompts import TemplatePrompts, TopicPrompts

RULES = Rules(max_words=6, require_concept=False, max_tries=3)
PROMPTS = TemplatePrompts(("Describe {concept}.", "Show {concept}.", "Draw {concept}."))
ITEMS = [Item(f"concept {letter}", derive(0, number, "test")) for number, letter in enumerate("abcdefgh")]


class Scripted:
    """Answers by a function of (request, number of the call), and keeps what it was asked."""

    def __init__(self, answer: Callable[[Request, int], str]) -> None:
        self.answer = answer
        self.calls: list[list[Request]] = []

    def generate(self, batch: Sequence[Request]) -> list[str]:
        self.calls.append(list(batch))
        return [self.answer(request, len(self.calls)) for request in batch]

    def close(self) -> None:
        """Nothing is held."""


def by_seed(request: Request, _: int) -> str:
    """Answer as a model does: from the request alone; every third answer is a refusal."""
    return "I'm sorry, I cannot." if request.seed % 3 == 0 else f"A picture of {request.concept} {request.seed % 97}"


def test_good_answers_are_cleaned_and_asked_for_in_one_call():
    engine = Scripted(lambda request, _: f'"Here is {request.concept} at dawn. It is cold."')
    answers = answer_batch(engine, PROMPTS, RULES, ITEMS)
    assert [len(call) for call in engine.calls] == [8]
    assert [request.concept for request in engine.calls[0]] == [item.concept for item in ITEMS]
    assert answers == [Answer(f"Here is {item.concept} at dawn.", PROMPTS.draw(item.seed), 1, None) for item in ITEMS]


def test_rejects_are_asked_again_together_in_the_order_of_the_items():
    bad = {("concept b", 1), ("concept e", 1), ("concept h", 1), ("concept e", 2), ("concept h", 2)}
    engine = Scripted(lambda request, call: "..." if (request.concept, call) in bad else f"A {request.concept}")
    answers = answer_batch(engine, PROMPTS, RULES, ITEMS)
    asked = [[request.concept[-1] for request in call] for call in engine.calls]
    assert asked == [list("abcdefgh"), list("beh"), list("eh")]
    assert [answer.num_tries for answer in answers] == [1, 2, 1, 1, 3, 1, 1, 3]
    assert {answer.reject_reason for answer in answers} == {None}


def test_final_rejects_have_no_caption_and_the_last_reason():
    script = {1: "...", 2: "I'm sorry, no.", 3: "one two three four five six seven"}
    engine = Scripted(lambda request, call: "A good one" if request.concept == "concept c" else script[call])
    answers = answer_batch(engine, PROMPTS, RULES, ITEMS)
    assert [len(call) for call in engine.calls] == [8, 7, 7]
    assert answers[2] == Answer("A good one", PROMPTS.draw(ITEMS[2].seed), 1, None)
    others = [answer for number, answer in enumerate(answers) if number != 2]
    assert {(one.caption, one.num_tries, one.reject_reason) for one in others} == {(None, 3, "too_long")}


def test_a_model_that_answers_nothing_is_rejected_as_empty():
    answers = answer_batch(Scripted(lambda *_: ""), PROMPTS, RULES, ITEMS)
    assert {(one.caption, one.num_tries, one.reject_reason) for one in answers} == {(None, 3, "empty")}


def test_every_try_of_every_item_has_a_seed_of_its_own():
    engine = Scripted(lambda *_: "")
    answer_batch(engine, PROMPTS, RULES, ITEMS)
    seeds = [request.seed for call in engine.calls for request in call]
    assert len(seeds) == len(set(seeds)) == 24
    assert not set(seeds) & {item.seed for item in ITEMS}


def test_all_tries_of_an_item_ask_with_the_same_template():
    engine = Scripted(lambda *_: "")
    answers = answer_batch(engine, PROMPTS, RULES, ITEMS)
    for call in engine.calls:
        filled = [PROMPTS.draw(item.seed).replace("{concept}", item.concept) for item in ITEMS]
        assert [request.prompt for request in call] == filled
    assert [answer.prompt for answer in answers] == [PROMPTS.draw(item.seed) for item in ITEMS]
    assert len({answer.prompt for answer in answers}) > 1


def test_an_answer_is_the_same_in_any_company_and_whoever_asks_again():
    together = answer_batch(Scripted(by_seed), PROMPTS, RULES, ITEMS)
    alone = [answer_batch(Scripted(by_seed), PROMPTS, RULES, [item])[0] for item in ITEMS]
    used = Scripted(by_seed)
    answer_batch(used, PROMPTS, RULES, ITEMS[5:])
    assert together == alone == answer_batch(used, PROMPTS, RULES, ITEMS)
    assert {answer.num_tries for answer in together} >= {1, 2}


@pytest.mark.parametrize("max_tries", [1, 2, 5])
def test_no_item_is_lost_and_none_is_asked_too_often(max_tries):
    items = [Item(f"concept {number}", derive(1, number, "test")) for number in range(500)]
    engine = Scripted(by_seed)
    answers = answer_batch(engine, PROMPTS, Rules(15, False, max_tries), items)
    assert len(answers) == 500
    assert all((answer.caption is None) == (answer.reject_reason is not None) for answer in answers)
    assert all(
        f" {item.concept} " in (answer.caption or f" {item.concept} ")
        for item, answer in zip(items, answers, strict=True)
    )
    rejected = [answer for answer in answers if answer.caption is None]
    assert {(one.num_tries, one.reject_reason) for one in rejected} == {(max_tries, "refusal")}
    assert sum(answer.num_tries for answer in answers) == sum(len(call) for call in engine.calls)
    assert len(engine.calls) == max_tries


def test_the_concept_is_checked_when_asked_for():
    engine = Scripted(lambda request, call: "A dog" if call == 1 else f"A {request.concept}")
    [answer] = answer_batch(engine, PROMPTS, Rules(15, True, 2), ITEMS[:1])
    assert answer == Answer("A concept a", PROMPTS.draw(ITEMS[0].seed), 2, None)
    [lenient] = answer_batch(Scripted(lambda *_: "A dog"), PROMPTS, Rules(15, False, 2), ITEMS[:1])
    assert (lenient.caption, lenient.num_tries) == ("A dog", 1)


def test_of_an_answer_with_several_captions_each_item_takes_one_by_its_seed():
    prompts = TopicPrompts("About {sampled_topics_string}:", ("sea", "sky", "sand"), num_topics=2, num_captions=10)
    captions = [f"A boat number {number} sails." for number in range(10)]
    answer = "Sure! Here are 10 captions:\n" + "\n".join(f"{n}. {line}" for n, line in enumerate(captions, 1))
    items = [Item("fox", derive(2, number, "test")) for number in range(200)]
    answers = answer_batch(Scripted(lambda *_: answer), prompts, RULES, items)
    assert {one.caption for one in answers} == set(captions)
    assert answers == answer_batch(Scripted(lambda *_: answer), prompts, RULES, items)
    assert {one.prompt for one in answers} == {prompts.draw(item.seed) for item in items}


def test_without_rules_whatever_the_engine_says_is_the_caption():
    raw = " I'm sorry, but tractor tractor tractor.\nAnd more. "
    engine = Scripted(lambda *_: raw)
    answers = answer_batch(engine, PROMPTS, None, ITEMS)
    assert answers == [Answer(raw, PROMPTS.draw(item.seed), 1, None) for item in ITEMS]
    assert [len(call) for call in engine.calls] == [8]


def test_the_template_engine_fills_clips_templates():
    prompts = template_prompts()
    items = [Item("{concept}", 3), Item("red fox", 83), Item("猫", 2**64 - 1)]
    answers = answer_batch(TemplateEngine(), prompts, None, items)
    assert [answer.prompt for answer in answers] == [prompts.draw(3), prompts.draw(3), prompts.draw((2**64 - 1) % 80)]
    assert [answer.caption for answer in answers] == [
        "a photo of the hard to see {concept}.",
        "a photo of the hard to see red fox.",
        prompts.draw(2**64 - 1).replace("{concept}", "猫"),
    ]


@pytest.mark.parametrize("rules", [RULES, None])
@pytest.mark.parametrize("given", [0, 7, 9])
def test_an_engine_that_gives_another_number_of_answers_is_told_so(rules, given):
    class Miscounting(Scripted):
        def generate(self, batch: Sequence[Request]) -> list[str]:
            return ["A cat"] * given

    with pytest.raises(RuntimeError, match=f"asked for 8 answers and gave {given}"):
        answer_batch(Miscounting(by_seed), PROMPTS, rules, ITEMS)


def test_what_goes_wrong_in_an_engine_goes_up():
    def broken(request: Request, call: int) -> str:
        raise OSError("no device")

    with pytest.raises(OSError, match="no device"):
        answer_batch(Scripted(broken), PROMPTS, RULES, ITEMS)
