"""What a sentence states that must not differ from its source: numbers, names, negation.

Everything works on folded text (`mitai.text.folding`) except names, whose capitals matter.
Spec: `docs/spec/answering.md` §2, rule 4.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

Number = tuple[Decimal, str]
"""A value and its unit: ``"%"``, a word such as ``"day"``, or nothing where none is known."""

_HAN_DIGITS: Final = {c: i for i, c in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
_HAN_UNITS: Final = {"十": 10, "百": 100, "千": 1000, "万": 10_000, "亿": 100_000_000}
_HAN_NUMERAL: Final = "零〇一二两三四五六七八九十百千万亿"
_HAN_MEASURE: Final = (
    r"(?:天|日|月|年|周|岁|元|次|名|人|份|条|款|项|章|节|页|倍|成|度|米|公里|克|吨|台|件|级|期|季|届|点|号|小时|分钟|秒"
    r"|个(?:月|小时|工作日|星期|人|季度)?)"
)
_UP_TO_NINETEEN: Final = re.findall(
    r"\w+",
    """
    zero one two three four five six seven eight nine ten
    eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen
    """,
)
_TENS: Final = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_WORDS: Final = {word: value for value, word in enumerate(_UP_TO_NINETEEN)} | {
    word: value for value, word in zip(range(20, 100, 10), _TENS, strict=True)
}
_SCALES: Final = {"hundred": 100, "thousand": 1000, "million": 1_000_000, "billion": 1_000_000_000}
_WORD: Final = "|".join([*_WORDS, *_SCALES])

_NUMBER: Final = re.compile(
    rf"""(?x)
    (?P<digits> (?<![\w.]) \d{{1,3}}(?:,\d{{3}})+(?:\.\d+)? | \d+(?:\.\d+)? )
        \s? (?P<scale> [十百千万亿](?![一-鿿]*分之) | (?:thousand|million|billion)\b )?
  | (?P<han_percent> 百分之 (?P<percent> [{_HAN_NUMERAL}]+ | \d+(?:\.\d+)? ) )
  | (?P<han> [{_HAN_NUMERAL}]+ ) (?P<measure> {_HAN_MEASURE} )?
  | (?P<words> \b(?:{_WORD})\b (?: (?:[\s-]+(?:and\s+)?) \b(?:{_WORD})\b )* )
    """
)
_UNITS: Final = re.compile(
    r"""(?x)
    \s?(?P<percent> % | percent\b | per\ cent\b )
  | [\s-]? (?:(?:paid|unpaid|full|working|business|calendar|consecutive|additional|extra|further|annual|sick)[\s-]){0,2}
    (?: (?P<day> days?\b ) | (?P<week> weeks?\b ) | (?P<month> months?\b ) | (?P<year> years?\b ) | (?P<hour> hours?\b )
      | (?P<minute> minutes?\b ) | (?P<euro> euros?\b | eur\b ) | (?P<dollar> dollars?\b | usd\b )
      | (?P<yuan> yuan\b | rmb\b ) )
  | 个?(?: (?P<han_day> 天 | 工作日 ) | (?P<han_week> 周 | 星期 | 礼拜 ) | (?P<han_hour> 小时 ) | (?P<han_minute> 分钟 )
      | (?P<han_year> 年(?!\d) ) | (?P<han_yuan> 元 ) | (?P<han_dollar> 美元 ) | (?P<han_euro> 欧元 ) )
  | 个(?P<han_month> 月 )
    """
)
_SIGNS: Final = {"$": "dollar", "€": "euro", "¥": "yuan"}

_NAME: Final = re.compile(
    r"[^\W\d_][\w.+-]*@[\w.-]+\w"  # an address
    r"|(?:[A-Za-z]+[\d/_-]+|\d+[A-Za-z_-]+)[\w/-]*"  # a code of letters and digits
    r"|[A-Za-z]*[A-Z][A-Za-z]*"  # a word with a capital
)
_HAN_CONTEXT: Final = re.compile(r"[A-Za-z][A-Za-z0-9.+-]*")
_ENGLISH_SUFFIXES: Final = re.compile(r"^\d+(?:st|nd|rd|th|s)?$", re.IGNORECASE)

_IDIOMS: Final = re.compile(
    r"""(?x)
    \b(?: no\ (?:later|earlier|more|less|fewer|longer)\ than
        | not\ (?:only|later\ than|more\ than|less\ than|exceed(?:ing)?) | whether\ or\ not | no\.?\s?\d )
  | 不(?:仅|但|同|论|管|断|过|久) | 不?得?不?(?:超过|少于|低于|高于|迟于|早于|晚于) | 不得不
  | 无(?:论|须|需) | 未来
    """
)
_NEGATION: Final = re.compile(
    r"""(?x)
    \b(?: not | no | never | neither | nor | none | cannot | without | prohibited | forbidden )\b | n['’]t\b
  | [不没勿无未] | 禁止 | 严禁 | 非(?!常)
    """
)


def numbers(folded: str, *, strict: bool) -> set[Number]:
    """Return the numbers in `folded` text by value.

    Args:
        folded: Folded text.
        strict: Leave out what may be no number at all: a lone ``one`` or ``一``, numerals inside Chinese
            words. Take this for the sentence that is checked, and not for its source.
    """
    return set(_numbers(folded, strict=strict))


def agree(claimed: set[Number], stated: set[Number]) -> bool:
    """Return whether every claimed number is stated by the source; a unit that one side leaves open is no conflict."""
    return all(any(_same(number, other) for other in stated) for number in claimed)


def names(sentence: str) -> set[str]:
    """Return the names in an unfolded `sentence`, casefolded: capitals in it, acronyms, codes, addresses."""
    found: set[str] = set()
    chinese = any("一" <= character <= "鿿" for character in sentence)
    first = True
    for match in _NAME.finditer(sentence):
        word = match.group().rstrip(".-/")
        starts = first and not re.search(r"\w", sentence[: match.start()])
        first = False
        plain = word[1:] == word[1:].lower() and word.isalpha()
        if (starts and plain) or word in {"I", "A"} or _ENGLISH_SUFFIXES.match(word):
            continue
        found.add(word.casefold())
    if chinese:
        found.update(match.group().casefold() for match in _HAN_CONTEXT.finditer(sentence))
    return found


def negated(folded: str) -> bool:
    """Return whether `folded` text denies something; turns such as ``no later than`` or ``不超过`` do not."""
    return _NEGATION.search(_IDIOMS.sub(" ", folded)) is not None


def _numbers(folded: str, *, strict: bool) -> Iterator[Number]:
    for match in _NUMBER.finditer(folded):
        if match["digits"]:
            value = Decimal(match["digits"].replace(",", "")) * _scale(match["scale"])
            yield value, _unit(folded, match.start(), match.end())
        elif match["han_percent"]:
            digits = match["percent"]
            yield (Decimal(digits) if digits[0].isdigit() else Decimal(_han_value(digits))), "%"
        elif match["han"]:
            if not (strict and _doubtful_han(match["han"], match["measure"])):
                yield Decimal(_han_value(match["han"])), _unit(folded, match.start(), match.end("han"))
        elif not (strict and match["words"] == "one"):
            yield Decimal(_word_value(match["words"])), _unit(folded, match.start(), match.end())


def _same(one: Number, other: Number) -> bool:
    """Return whether two numbers may be the same; a percentage is never a plain number."""
    (value, unit), (other_value, other_unit) = one, other
    open_unit = "%" not in {unit, other_unit} and not (unit and other_unit)
    return value == other_value and (unit == other_unit or open_unit)


def _unit(folded: str, start: int, end: int) -> str:
    """Return the unit of the number at ``[start, end)``."""
    found = _UNITS.match(folded, end)
    if found is None or found.lastgroup is None:
        return _SIGNS.get(folded[start - 1 : start], "")
    return "%" if found.lastgroup == "percent" else found.lastgroup.removeprefix("han_")


def _scale(word: str | None) -> int:
    return 1 if not word else _HAN_UNITS.get(word) or _SCALES[word]


def _doubtful_han(numeral: str, measure: str | None) -> bool:
    """Return whether a run of numerals may be part of a word: 一般, 统一, 千万, 十分, 一个."""
    if numeral[0] in "百千万亿":
        return True
    if measure:
        return numeral == "一" and measure == "个"
    return len(numeral) == 1 or not any(c in _HAN_DIGITS for c in numeral) or not any(c in _HAN_UNITS for c in numeral)


def _han_value(numeral: str) -> int:
    """Return the value of a Chinese numeral: 二十五 → 25, 一万二千 → 12000, 二〇二四 → 2024."""
    if not any(c in _HAN_UNITS for c in numeral):
        return int("".join(str(_HAN_DIGITS[c]) for c in numeral))
    total = section = digit = 0
    for character in numeral:
        if character in _HAN_DIGITS:
            digit = _HAN_DIGITS[character]
        elif (unit := _HAN_UNITS[character]) >= 10_000:  # noqa: PLR2004 - 万 and 亿 close a section
            total = (total + section + digit or 1) * unit
            section = digit = 0
        else:
            section += (digit or 1) * unit
            digit = 0
    return total + section + digit


def _word_value(words: str) -> int:
    """Return the value of English number words: ``two hundred and fifty`` → 250."""
    total = section = 0
    for word in re.findall(_WORD_ONLY, words):
        if word in _WORDS:
            section += _WORDS[word]
        elif word == "hundred":
            section = (section or 1) * 100
        else:
            total += (section or 1) * _SCALES[word]
            section = 0
    return total + section


_WORD_ONLY: Final = re.compile(rf"\b(?:{_WORD})\b")
