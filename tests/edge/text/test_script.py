from __future__ import annotations

import pytest

from mitai.text.script import Script, detect_script, differ


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("员工每年有十五天年假。", Script.HAN),
        ("員工每年有十五天年假。", Script.HAN),
        ("休暇は年に十五日です", Script.HAN),
        ("Employees get fifteen days.", Script.LATIN),
        ("Сотрудники получают отпуск", Script.LATIN),
        ("如何配置 VPN", Script.MIXED),
        ("请在 SAP 系统中提交报销申请", Script.HAN),
        ("The word 合同 means contract in Chinese", Script.LATIN),
        ("2024-05-01 12:30", Script.NONE),
        ("", Script.NONE),
        ("𠮷野家的菜单", Script.HAN),
    ],
)
def test_the_script_of_a_text(text: str, expected: Script) -> None:
    assert detect_script(text) is expected


def test_only_han_and_latin_differ() -> None:
    different = {(one, other) for one in Script for other in Script if differ(one, other)}
    assert different == {(Script.HAN, Script.LATIN), (Script.LATIN, Script.HAN)}
