"""Build the PDF and Word files in `documents/` from the texts below: `python examples/build_documents.py`.

The texts are original and the company is made up. Their dates are fixed: a rebuild changes nothing.
"""  # noqa: INP001 - a script beside its data, not a package

from __future__ import annotations

import io
import re
import sys
import zipfile
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import docx
import fpdf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WRITTEN: Final = datetime(2026, 1, 15, 9, 0, tzinfo=UTC)
AUTHOR: Final = "Harbour & Hill Instruments"

# A line that begins with `#` is a heading, with `-` an item; one with ` | ` in it is a table row; other lines
# are paragraphs, wrapped.

SERVICE_AGREEMENT: Final = """\
# Service agreement SA-2026-07

This agreement is made between Harbour & Hill Instruments, the supplier, and the Bay Testing Centre,
the customer. It covers the maintenance of the instruments that are listed in section 1.

## 1 Instruments

The agreement covers six TK-40 spectrometers and two DM-7 density meters at the customer's
laboratory. Instruments that are bought later are added by a written amendment.

## 2 Term

The agreement begins on 1 May 2026 and runs for three years. It is extended by one year unless one
party gives notice. Notice of termination is given in writing at least 90 days before the end of the
term.

## 3 Response times

The supplier answers a fault report within four working hours. A technician is on site within two
working days. When a repair takes longer than ten working days, the supplier provides a replacement
instrument.

## 4 Preventive maintenance

The supplier services every instrument twice a year. A service includes cleaning, a lamp test and a
calibration with certificate. The supplier announces each visit two weeks in advance.

## 5 Fees and payment

The annual fee is 18,600 euros, payable in quarterly instalments. Invoices are due within 30 days.
The fee may rise by at most 3 percent a year. Interest on late payment is 5 percent a year.

Spare parts are included, with the exception of lamps and cuvettes. Travel costs are included.

## 6 Duties of the customer

The customer keeps the instruments at 10 to 35 degrees Celsius and appoints a contact. The customer
backs up measurement data before each visit.

## 7 Confidentiality

Each party keeps the other party's information confidential. The duty of confidentiality ends five
years after the end of the agreement. Measurement data belongs to the customer alone.

## 8 Liability

The supplier's liability is limited to 250,000 euros per calendar year. The limit does not apply to
intent or gross negligence. Neither party is liable for events beyond its control.

## 9 Termination for cause

Either party may terminate the agreement at once when the other party seriously breaches it and does
not put this right within 30 days of a written warning.

## 10 Law and venue

The agreement is governed by the law of the supplier's country. Disputes are first brought before
the mediation board of the chamber of commerce.
"""

LABORATORY_SAFETY: Final = """\
# Laboratory safety manual

This manual is for everyone who enters a laboratory of Harbour & Hill Instruments. The safety desk
reviews it every year in October.

## Before you start

Everyone takes the safety course before working in a laboratory. The course takes three hours and is
repeated every two years. Visitors receive a ten-minute briefing.

## Protective equipment

- Safety glasses are worn in all laboratories.
- Nitrile gloves are worn when handling solvents.
- Laser goggles with optical density 6 are worn in room D-114.
- Open shoes and shorts are forbidden.

## Chemicals

Solvents are stored in the yellow cabinets. A yellow cabinet holds at most 60 litres. Acids and
bases are kept in separate cabinets. Every bottle carries a label with its content and the date of
opening.

Hydrofluoric acid is not used on the site. Whoever needs it asks the safety desk for an alternative.

## Waste

Halogenated solvents go into the red canister and other solvents into the blue canister. A full
canister is taken to the waste store in building E. The waste store is open on Wednesdays from 13:00
to 15:00.

## Gas

Gas cylinders are chained to the wall. The nitrogen alarm sounds when the oxygen level falls below
19 percent. When the alarm sounds, leave the room and call 4112. Nobody enters again before the
safety desk has measured the air.

## Fire

The fire extinguishers are filled with carbon dioxide. Try to put out a fire only when your way out
is free. Do not use the lifts. The assembly point is the car park in front of building C.

## First aid

Eye showers are tested every Monday. After contact with a chemical, rinse the eye for at least 15
minutes. The first-aid room is C-003. The nearest defibrillator hangs beside the reception of
building A.

## Working alone

Nobody works alone with lasers, pressure vessels or more than five litres of solvent. After 20:00 at
least two people are present in a laboratory.

## Reporting

Accidents and near misses are reported to the safety desk on the same day. A report is never used
against the person who makes it. The safety desk publishes a summary every quarter.
"""

PROCUREMENT_POLICY: Final = """\
# Procurement policy

This policy says how Harbour & Hill Instruments buys goods and services. The purchasing desk is
responsible for it.

## Thresholds

Value of the order | What is needed
up to 1,000 euros | team lead approves
up to 10,000 euros | two written offers
up to 100,000 euros | three written offers and the head of department
above 100,000 euros | tender and the board

An order must not be split to stay below a threshold.

## Suppliers

### New suppliers

A new supplier fills in the supplier questionnaire. The purchasing desk answers within eight working
days. Suppliers of safety-relevant parts are audited before the first order.

### Review

Every supplier is rated once a year for quality, punctuality and price. A supplier with fewer than
60 points receives no new orders.

## Gifts

Employees who order goods accept no gifts above 25 euros. Invitations to trade fairs are reported to
the purchasing desk.

## Orders and invoices

- Every order has an order number.
- Invoices without an order number are returned.
- The standard payment term is 45 days.

## Sustainability

Where two offers are equal, the one with the shorter transport wins. Packaging is returned to the
supplier.
"""

STAFF_HANDBOOK_HANS: Final = """\
# 员工手册

本手册适用于港丘仪器公司的全体员工，由人力资源部负责解释，自2026年3月1日起施行。

## 工作时间

公司实行每周五天工作制，每天工作八小时。核心工作时间为上午十点至下午三点。加班应事先得到部门
主管同意。

## 试用期

新员工的试用期为三个月。试用期满前两周，部门主管与员工进行面谈。试用期内辞职应提前三天通知公
司。

## 休假

### 年假

员工入职满一年后，每年享有十五天带薪年假。未休完的年假可以保留到次年六月底。申请五天以上的年
假，应提前三周提出。

### 病假

员工因病不能上班，应在当天上午九点半前告知部门主管。病假超过两天的，应提交医院证明。

### 婚假和陪产假

员工结婚享有十天婚假。陪产假为二十天，应在子女出生后三个月内使用。

## 薪酬与福利

工资于每月八日发放。公司为员工购买补充医疗保险。每位员工每年的培训预算为人民币八千元。

福利 | 标准 | 办理部门
午餐补贴 | 每餐十二元 | 后勤部
交通补贴 | 每月三百元 | 财务部
体检 | 每年一次 | 人力资源部

## 行为规范

- 进入实验室必须佩戴护目镜。
- 不得接受价值超过二百元的礼品。
- 工牌遗失应在二十四小时内向后勤部报告。

## 离职

正式员工辞职应提前三十天书面通知公司。离职当天应归还电脑、工牌和钥匙。
"""

ATTENDANCE_RULES_HANT: Final = """\
# 員工出勤管理辦法

本辦法適用於港丘儀器公司臺灣分公司，由人事組負責解釋。

## 上班時間

正常上班時間為上午九點至下午六點，中午休息一小時。員工可彈性提早或延後一小時上班。

## 打卡

員工上下班應以識別證打卡。忘記打卡者，應於三個工作日內補登，每月以三次為限。

## 請假

### 特別休假

員工服務滿一年者，每年有十日特別休假；滿五年者，每年有十八日。特別休假應於七日前提出申請。

### 病假

病假連續三日以上者，應附醫療證明。全年病假未超過三十日的部分，工資折半發給。

### 家庭照顧假

家庭照顧假每年七日，併入事假計算。

## 加班

加班須事先經主管核准。每月加班時數不得超過四十六小時。加班可選擇領取加班費或補休，補休應於六
個月內休完。

## 遠距工作

員工每週可遠距工作兩日。遠距工作期間，應於上午九點半前在系統登記。試用期間的員工不適用遠距工
作。

## 颱風與天災

政府宣布停止上班時，員工無須到班，工資照給。
"""


class Part(NamedTuple):
    """A piece of a document: its lines, and what they are."""

    kind: str  # "heading 1"…, "item", "row" or "paragraph"
    lines: list[str]


def parts(source: str) -> Iterator[Part]:
    """Yield the pieces of a source text in order."""
    for is_blank, group in groupby(source.split("\n"), key=lambda line: not line):
        lines = list(group)
        if is_blank:
            continue
        heading = re.match("(#+) (.*)", lines[0])
        if heading:
            yield Part(f"heading {len(heading[1])}", [heading[2]])
        elif lines[0].startswith("- "):
            yield Part("item", [line.removeprefix("- ") for line in lines])
        elif " | " in lines[0]:
            yield Part("row", lines)
        else:
            yield Part("paragraph", [(" " if source.isascii() else "").join(lines)])


def title(source: str) -> str:
    """Return the first heading."""
    return next(parts(source)).lines[0]


def build_pdf(source: str) -> bytes:
    """Lay a source out as an A4 document in Helvetica."""
    pdf = fpdf.FPDF(format="A4")
    pdf.set_creation_date(WRITTEN)
    pdf.set_title(title(source))
    pdf.set_author(AUTHOR)
    pdf.set_producer("examples/build_documents.py")
    pdf.set_margin(22)
    pdf.set_auto_page_break(auto=True, margin=22)
    pdf.add_page()

    def write(text: str, *, size: float, style: str, height: float, after: float) -> None:
        pdf.set_font("Helvetica", style, size)
        pdf.multi_cell(0, height, text, new_x="LMARGIN", new_y="NEXT", align="L")
        pdf.ln(after)

    for kind, lines in parts(source):
        if kind.startswith("heading"):
            first = kind == "heading 1"
            write(lines[0], size=20 if first else 14, style="B", height=10 if first else 8, after=1)
            continue
        for line in lines:
            write(f"- {line}" if kind == "item" else line, size=11, style="", height=6, after=0)
        pdf.ln(4)
    return bytes(pdf.output())


def build_docx(source: str) -> bytes:
    """Write a source with Word's own heading, list and table styles."""
    document = docx.Document()
    properties = document.core_properties
    properties.title, properties.author, properties.comments = title(source), AUTHOR, ""
    properties.created = properties.modified = WRITTEN.replace(tzinfo=None)
    for kind, lines in parts(source):
        if kind.startswith("heading"):
            document.add_heading(lines[0], level=int(kind[-1]) - 1)  # level 0 is Word's title
        elif kind == "row":
            table = document.add_table(rows=0, cols=len(lines[0].split(" | ")), style="Table Grid")
            for line in lines:
                for cell, text in zip(table.add_row().cells, line.split(" | "), strict=True):
                    cell.text = text
        else:
            for line in lines:
                document.add_paragraph(line, style="List Bullet" if kind == "item" else "Normal")
    written = io.BytesIO()
    document.save(written)
    return _without_clock(written.getvalue())


def _without_clock(archive: bytes) -> bytes:
    """Write an archive again with the earliest date that ZIP knows on every entry."""
    rewritten = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(archive)) as source,
        zipfile.ZipFile(rewritten, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for entry in source.infolist():
            fixed = zipfile.ZipInfo(entry.filename, date_time=(1980, 1, 1, 0, 0, 0))
            target.writestr(fixed, source.read(entry), compress_type=zipfile.ZIP_DEFLATED)
    return rewritten.getvalue()


DOCUMENTS: Final[dict[str, tuple[str, Callable[[str], bytes]]]] = {
    "service-agreement.pdf": (SERVICE_AGREEMENT, build_pdf),
    "laboratory-safety-manual.pdf": (LABORATORY_SAFETY, build_pdf),
    "procurement-policy.docx": (PROCUREMENT_POLICY, build_docx),
    "员工手册.docx": (STAFF_HANDBOOK_HANS, build_docx),
    "員工出勤管理辦法.docx": (ATTENDANCE_RULES_HANT, build_docx),
}


def main(folder: Path) -> None:
    """Write every document into `folder`."""
    for name, (source, build) in DOCUMENTS.items():
        (folder / name).write_bytes(build(source))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "documents")
