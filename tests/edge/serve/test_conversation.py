"""What a chat request asks of a knowledge base."""

from __future__ import annotations

from mitai.serve.conversation import MAX_EARLIER_CHARACTERS, parse_question

NEW = {"role": "user", "content": "那兼职员工呢？"}


def turn(role: str, text: str) -> dict[str, object]:
    return {"role": role, "content": text}


def test_a_single_question_goes_as_it_is() -> None:
    question = parse_question({"model": "kb:x", "messages": [turn("developer", "x"), NEW]})
    assert (question.text, question.query) == (NEW["content"], NEW["content"])
    assert (question.stream, question.max_tokens, question.temperature) == (False, 256, 0.0)


def test_earlier_turns_are_quoted_and_only_the_last_question_is_searched_for_beside_the_new_one() -> None:
    messages = [turn("user", "一"), turn("assistant", "二\n三"), turn("user", "四"), turn("assistant", "五"), NEW]
    question = parse_question({"model": "kb:x", "messages": messages})
    assert question.query == "四\n那兼职员工呢？"
    assert question.text == (
        "(Said earlier in this conversation:\nuser: 一\nassistant: 二 三\nuser: 四\nassistant: 五\n)\n那兼职员工呢？"
    )


def test_the_newest_earlier_turns_are_kept_up_to_the_cap() -> None:
    long = [turn("user" if number % 2 == 0 else "assistant", f"{number} " + "字" * 400) for number in range(40)]
    question = parse_question({"model": "kb:x", "messages": [*long, NEW]})
    assert len(question.text) < MAX_EARLIER_CHARACTERS + 200
    assert "assistant: 39 " in question.text
    assert "user: 0 " not in question.text


def test_both_names_of_the_token_limit() -> None:
    assert parse_question({"model": "kb:x", "messages": [NEW], "max_tokens": 5}).max_tokens == 5
    given = {"model": "kb:x", "messages": [NEW], "max_tokens": 5, "max_completion_tokens": 7}
    assert parse_question(given).max_tokens == 7
