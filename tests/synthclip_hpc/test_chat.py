from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")

from synthclip_hpc.captioning.engines import chat as chat_module
from synthclip_hpc.captioning.engines.chat import open_chat
from synthclip_hpc.captioning.engines.room import Room
from synthclip_hpc.errors import UserError
from tests.synthclip_hpc.chat_models import make_tokenizer

pytestmark = pytest.mark.engines

PROMPT = "write a caption of the red fox"
WIDE = Room(context=110, answer=10)


def test_a_template_that_writes_bos_itself_yields_one(tmp_path: Path):
    make_tokenizer(tmp_path)
    chat = open_chat(tmp_path)
    (ids,) = chat.encode([PROMPT], WIDE)
    tokens = chat.tokenizer.convert_ids_to_tokens(ids)
    assert tokens == ["<s>", "[INST]", *PROMPT.split(), "[/INST]"]
    # The same text without care: the tokenizer puts a second one before it.
    rendered = chat.tokenizer.apply_chat_template([{"role": "user", "content": PROMPT}], tokenize=False)
    assert chat.tokenizer(rendered)["input_ids"].count(chat.tokenizer.bos_token_id) == 2


def test_prompts_of_a_batch_keep_their_order_and_their_own_lengths(tmp_path: Path):
    make_tokenizer(tmp_path)
    chat = open_chat(tmp_path)
    batch = chat.encode(["the fox", "the", "a violin in snow"], WIDE)
    assert [len(ids) for ids in batch] == [5, 4, 7]
    assert batch == [chat.encode([prompt], WIDE)[0] for prompt in ("the fox", "the", "a violin in snow")]


def test_todays_date_in_a_template_does_not_change_the_prompt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    make_tokenizer(tmp_path, "{{ strftime_now('%d') }} {{ strftime_now('%Y') }} {{ messages[0]['content'] }}")
    chat = open_chat(tmp_path)
    text = chat.tokenizer.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False)
    assert str(datetime.date.today().year) in text
    asked: list[str] = []

    def note(form: str) -> str:
        asked.append(form)
        return "fox"

    monkeypatch.setattr(chat_module, "_fixed_date", note)
    (ids,) = chat.encode(["red"], WIDE)
    assert chat.tokenizer.convert_ids_to_tokens(ids) == ["fox", "fox", "red"]
    assert asked == ["%d", "%Y"]
    monkeypatch.undo()
    assert chat_module._fixed_date("%d %Y") == "01 2024"


def test_a_template_that_can_think_is_told_not_to(tmp_path: Path):
    make_tokenizer(tmp_path, "{{ messages[0]['content'] }} {{ 'moon' if enable_thinking | default(true) else 'snow' }}")
    chat = open_chat(tmp_path)
    assert chat.tokenizer.convert_ids_to_tokens(chat.encode(["red"], WIDE)[0]) == ["red", "snow"]


def test_stop_tokens_of_all_files_count_and_padding_needs_no_token_of_its_own(tmp_path: Path):
    make_tokenizer(tmp_path)
    chat = open_chat(tmp_path)
    assert chat.stop_ids == (2, 3)
    assert chat.tokenizer.pad_token_id is None
    assert chat.pad_id == 2


def test_answers_end_at_the_first_stop_token_and_lose_special_ones(tmp_path: Path):
    make_tokenizer(tmp_path)
    chat = open_chat(tmp_path)
    (red, fox) = chat.tokenizer.convert_tokens_to_ids(["red", "fox"])
    answers = [[red, fox, 2, red, 2, 2], [red, 3, fox], [2, 2], [], [1, fox, red]]
    assert chat.decode(answers) == ["red fox", "red", "", "", "fox red"]


def test_a_prompt_that_leaves_no_room_for_the_answer_is_refused(tmp_path: Path):
    make_tokenizer(tmp_path)
    chat = open_chat(tmp_path)
    room = Room(context=50, answer=30)
    assert len(chat.encode(["red " * 17], room)[0]) == 20
    with pytest.raises(UserError, match=r"captions\.prompt: .*takes 21 tokens, and there is room for 20") as told:
        chat.encode(["red", "red " * 18], room)
    assert "beside an answer of 30 (captions.max_tokens) in the engine's context of 50" in str(told.value)
    assert str(told.value).endswith("in a new run")


def test_a_model_without_a_chat_template_is_refused(tmp_path: Path):
    make_tokenizer(tmp_path, None)
    with pytest.raises(UserError, match=r"captions\.model: .* has no chat template"):
        open_chat(tmp_path)


def test_code_that_comes_with_a_tokenizer_is_never_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import transformers

    make_tokenizer(tmp_path)
    asked: list[object] = []
    real = transformers.AutoTokenizer.from_pretrained

    def note(*given: Any, **options: Any) -> Any:
        asked.append(options.get("trust_remote_code"))
        return real(*given, **options)

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", note)
    open_chat(tmp_path)
    assert asked == [False]
