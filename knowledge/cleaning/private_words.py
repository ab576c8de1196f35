"""Finds private data that is made of words: e-mail and postal addresses, names, plates.

Every `find_` takes a text that `masking.fold` has folded and yields the places of what it finds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import AddressValueError, IPv4Address

#: Where something begins in a text, and where it ends.
Span = tuple[int, int]

_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9_][A-Za-z0-9._%+-]{0,63}(?:@\n?|[ ]?[\[(]at[\])][ ]?)"
    r"(?:[A-Za-z0-9-]{1,63}(?:\.|[ ]?[\[(]dot[\])][ ]?)){1,6}[A-Za-z]{2,24}(?![A-Za-z0-9])"
)
# Whoever reads a shared mailbox is there to be written to.
_ROLES = re.compile(
    r"(?:support|service|services|customer[._-]?(?:service|care|support)|help|helpdesk|info"
    r"|contact|sales"
    r"|kefu|cs|hello|team|office|admin|no-?reply|do-?not-?reply|privacy|legal|press|media|jobs"
    r"|hr|careers"
    r"|returns?|refunds?|orders?|billing|invoices?|accounts?|feedback|complaints?|security|abuse"
    r"|webmaster"
    r"|postmaster|marketing|business|shouhou|fuwu|tousu|bd|dpo|enquir(?:y|ies)|inquir(?:y|ies)"
    r"|bookings?"
    r"|reservations?|shop|store|git|news(?:letter)?)(?:[._+-]?[a-z]{2})?\d?@.*",
    re.IGNORECASE | re.DOTALL,
)


def find_emails(text: str) -> Iterator[Span]:
    """E-mail addresses of persons; not of roles such as support@ or info@."""
    if "@" not in text and "(at)" not in text and "[at]" not in text:
        return
    for match in _EMAIL.finditer(text):
        if not _ROLES.fullmatch(match[0]):
            yield match.span()


_IP = re.compile(r"(?<![A-Za-z0-9_.-])(?:\d{1,3}\.){3}\d{1,3}(?![A-Za-z0-9_-])(?!\.\d)")
_IP_LABEL = re.compile(
    r"(?<![A-Za-z])IPv?4?(?:\s?(?:地址|address))?[\s:：是为]{0,3}"
    r"(?:is )?$",
    re.IGNORECASE,
)
_VERSION_LABEL = re.compile(
    r"(?:v|ver|version|版本|版|固件|firmware|build|release|driver|驱动|DNS|网关"
    r"|gateway)[\s:：号.填为是]{0,3}$",
    re.IGNORECASE,
)
# A version seldom has three numbers of two or three digits.
_LEAST_IP_DIGITS = 9


def find_ip_addresses(text: str) -> Iterator[Span]:
    """Public IPv4 addresses; those of a home network are in every router's manual."""
    for match in _IP.finditer(text):
        before = text[max(0, match.start() - 16) : match.start()]
        try:
            public = IPv4Address(match[0]).is_global
        except AddressValueError:
            continue
        labelled = _IP_LABEL.search(before)
        if public and (
            labelled
            or (len(match[0]) - 3 >= _LEAST_IP_DIGITS and not _VERSION_LABEL.search(before))
        ):
            yield match.span()


_PLATE = re.compile(
    r"(?<![全最更崭创换型])[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼]"
    r"[A-HJ-NP-Z][ ·-]?(?=[A-HJ-NP-Z]{0,3}\d)(?:[A-HJ-NP-Z0-9]{5,6}"
    r"|[A-HJ-NP-Z0-9]{4}[挂学警港澳])(?![A-Za-z0-9])"
)


def find_plates(text: str) -> Iterator[Span]:
    """Licence plates of the mainland, with at least three digits."""
    for match in _PLATE.finditer(text):
        if sum(character.isdigit() for character in match[0]) >= 3:
            yield match.span()


# Addresses

_HAN = "\u4e00-\u9fff"
_PROVINCES = (
    "北京|天津|上海|重庆|河北|山西|辽宁|吉林|黑龙江|江苏|浙江|安徽|福建|江西|山东|河南|湖北|湖南|广东|海南"
    "|四川|贵州|云南|陕西|甘肃|青海|台湾|内蒙古|广西|西藏|宁夏|新疆|香港|澳门"
)
_ADDRESS_LABEL = (
    r"(?:[地住]址|住所|家住|住在|现住|居住于|[寄送]到|寄往|[寄送]至)(?:是|为)?[\s:：]{0,2}"
)
_NUMBER_OF_HOUSE = re.compile(
    r"\d{1,5}(?:-\d{1,4})?[ ]?(?:号|號|弄|栋|幢|座)(?!线|线路|公路|国道|文件|令|院线|车|机|店)"
)
_STREET = re.compile(
    rf"(?:路|街|大道|道|巷|弄|胡同|里|村|庄|屯|小区|花园|苑|园|广场|开发区|新城|公馆"
    rf"|[东西南北中]段)[{_HAN}]{{0,3}}$"
)
_BEFORE_HOUSE = re.compile(
    rf"(?:{_ADDRESS_LABEL}|(?:{_PROVINCES})(?:省|市|自治区|特别行政区)?|"
    rf"(?<![{_HAN}])[{_HAN}]{{2,4}}?[市县区])"
    rf"[{_HAN}0-9A-Za-z()·\-\s]{{0,40}}$"
)
_LABEL = re.compile(_ADDRESS_LABEL)
_AFTER_HOUSE = re.compile(
    rf"(?:[ ]?[{_HAN}A-Za-z]{{0,12}}?(?:\d{{1,5}}|[A-Z]|[一二三四五六七八九十]{{1,3}})"
    r"[ ]?(?:-\d{1,5}){0,3}[ ]?(?:号楼|号院|号|栋|幢|座|单元|楼|层|室|房|户|门)"
    rf"|[{_HAN}]{{2,10}}\d{{1,3}}(?:-\d{{1,4}}){{1,2}}(?!\d)"
    r"|-\d{1,5}|\d{3,5}(?!\d)(?=[\s,，。;；、]|$)){0,5}"
)
_STREET_TYPES = (
    "Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Place|Pl|Terrace|Way"
    "|Square|Sq|Crescent|Close|Parkway|Pkwy|Highway|Hwy|Circle|Cir|Gardens|Grove|Mews"
)
_WEST = re.compile(
    r"(?<![A-Za-z0-9,.$#-])\d{1,6}[A-Za-z]?,? (?:[NSEW]{1,2}\.? )?"
    r"(?:[A-Z0-9][A-Za-z0-9'’-]{0,20}\.? ){1,4}"
    rf"(?:{_STREET_TYPES})\b\.?(?: [NSEW]{{1,2}}\b)?"
)
_WEST_UNIT = re.compile(
    r",?\s{0,2}(?:Apt|Apartment|Suite|Ste|Unit|Flat|Floor|Fl|#)\.?\s?#?[A-Z0-9-]{1,6}\b"
)
_WEST_PLACE = re.compile(
    r",?\s{0,2}(?:[A-Z][A-Za-z.'’-]{1,20},?\s){1,4}(?:[A-Z]{2}\.?\s{1,2}\d{5}(?:-\d{4})?\b"
    r"|[A-Z]{1,2}\d[A-Z0-9]?\s?\d[A-Z]{2}\b)"
)
_WEST_LABEL = re.compile(
    r"(?:address|lives? (?:at|on)|reside[sd]? at|ship(?:ped|ping)? to|mail(?:ed)? to|deliver"
    r"(?:ed)? to)\s?[:：]?\s{0,2}$",
    re.IGNORECASE,
)
_PO_BOX = re.compile(r"\bP\.?[ ]?O\.?[ ]?Box \d{1,6}\b", re.IGNORECASE)


def find_addresses(text: str) -> Iterator[Span]:
    """Postal addresses down to the house, of China, the United States and the United Kingdom.

    A street and a number alone are none: there must be a city, a postcode, a flat or a label.
    """
    done = 0
    for house in _NUMBER_OF_HOUSE.finditer(text):
        if (
            house.start() >= done
            and (start := _start_of_address(text, done, house.start())) is not None
        ):
            done = house.end() + len(
                (_AFTER_HOUSE.match(text[house.end() : house.end() + 60]) or [""])[0]
            )
            yield start, done
    for match in _WEST.finditer(text):
        yield from _west_address(text, match.start(), match.end())
    for match in _PO_BOX.finditer(text):
        yield match.span()


def _start_of_address(text: str, least: int, house: int) -> int | None:
    least = max(least, house - 60)
    window = text[least:house]
    if not _STREET.search(window):
        return None
    before = _BEFORE_HOUSE.search(window)
    if before is None:
        return None
    labels = list(_LABEL.finditer(window))
    start = max(before.start(), labels[-1].end() if labels else 0)
    # "住武汉市…": a verb that begins what looks like a city of three characters.
    return least + start + (window[start] in "住在到至去寄从")


def _west_address(text: str, start: int, end: int) -> Iterator[Span]:
    detailed = _WEST_LABEL.search(text[max(0, start - 24) : start]) is not None
    for part in (_WEST_UNIT, _WEST_PLACE):
        if follows := part.match(text, end, end + 90):
            detailed, end = True, follows.end()
    if detailed:
        yield start, end


# Names

_SURNAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林罗高梁郑谢宋唐许邓冯韩曹曾彭萧肖蔡潘田董袁于余叶蒋杜苏魏程吕丁"
    "沈任姚卢傅钟姜崔谭廖范汪陆金石戴贾韦夏邱方侯邹熊孟秦白江阎薛尹段雷黎史龙陶贺顾毛郝龚邵万钱严赖覃武莫"
    "孔汤庞樊兰殷施翟倪严牛温芦季俞章鲁葛伍申尤毕聂柴焦向柳邢岳齐梅庄辛管祝左涂谷祁时舒耿牟卜路詹关苗凌费纪"
    "張劉陳楊黃趙吳孫馬羅鄭謝許鄧馮韓蕭葉蔣蘇呂盧鐘譚陸賈韋鄒閻龍陶賀顧龔錢嚴賴湯莊"
)
_DOUBLE_SURNAMES = "欧阳|司马|上官|诸葛|司徒|东方|皇甫|尉迟|公孙|慕容|令狐|夏侯|歐陽|司馬|諸葛"
_SURNAME = rf"(?:{_DOUBLE_SURNAMES}|[{_SURNAMES}])"
# What stands beside "姓名" in the header of a table, and begins like a name.
_NO_CHINESE_NAMES = "金额|时间|路线|方式|方法|方向|高级|管理|全部|程序|白天|江|万|年"
_NAME_LABEL = re.compile(
    r"(?:联系人|聯絡人|收件人|收货人|寄件人|签收人|姓名|客户名|客户姓名|用户名?姓名|负责人"
    r"|经办人|申请人|投诉人|患者|持卡人"
    r"|户名|开户名|法定代表人|客户经理|项目经理|法人代表|联络人|紧急联系人|投保人|被保险人|乘客"
    r"|旅客|入住人|车主|业主|会员姓名)"
    rf"(?:姓名)?(?:\s?[:：]\s{{0,2}}|[ \t|]{{1,3}})"
    rf"(?!{_NO_CHINESE_NAMES})(?P<name>{_SURNAME}[{_HAN}·]{{1,3}}?)"
    r"(?=$|[^\u4e00-\u9fff]|先生|女士|小姐|太太|电话|手机|性别|身份证|联系|地址|[(（])"
)
# A word ends before the name, as far as one can tell without a dictionary.
_TITLED = re.compile(rf"(?P<name>{_SURNAME}[{_HAN}]{{0,2}})(?=先生|女士|小姐|太太|师傅)")
_TITLE = re.compile("先生|女士|小姐|太太|师傅")
_FUNCTION_WORDS = frozenset("于和时向任关管程何万金石白路方高温武江")
_ADDRESSED = re.compile(rf"(?:^|[^{_HAN}]|[请找由和与给向是问问到联系]){_SURNAME}$")
_OFFICES = re.compile(
    r"经理(?!级)|主任(?!级)|老师|医生|律师|教授|主管|总监|(?<=\S)总(?=[\s,，。:：的])"
)
_WEST_NAME = r"[A-Z](?:[a-z]{0,2}['’]?[A-Z])?[a-zà-ÿ]{1,20}(?:-[A-Z][a-zà-ÿ]{1,20})?"
_WEST_TITLED = re.compile(
    r"\b(?:Mr|Mrs|Ms|(?<![A-Za-z] )Miss|Mx|Dr|Prof)\.?[ ]"
    rf"(?P<name>(?:[A-Z]\.[ ]?){{0,2}}{_WEST_NAME}(?:[ ]{_WEST_NAME}){{0,2}})"
)
_WEST_LABELLED = re.compile(
    r"\b(?i:Contact(?: person| name)?|(?:(?:Full|Customer|First|Last|Patient|Guest"
    r"|Passenger) )?Name"
    r"|Attn|Attention|Recipient|Cardholder|Account holder|Policyholder|Patient|Signed by"
    r"|Beneficiary|Emergency contact|Prepared by|Manager)[ ]?:[ ]{0,2}(?:(?:Mr|Mrs|Ms|Dr)\.?[ ])?"
    rf"(?P<name>{_WEST_NAME}(?:[ ][A-Z]\.)?(?:[ ]{_WEST_NAME}){{1,2}})(?=$|[^A-Za-z])",
    re.MULTILINE,
)
_NO_NAMES = re.compile(
    r"(?:Customer|Support|Service|Sales|Technical|Team|Department|Center|Centre|Office|Desk|Help"
    r"|Product|File|Your|The|Us)\b"
)
_NO_PERSONS = re.compile(
    r"(?:file|product|user|domain|host|model|company|store|brand|display|table|server|app|font)\s$",
    re.IGNORECASE,
)


def find_names(text: str) -> Iterator[Span]:
    """Names of persons, only beside a label ("联系人：") or a title ("先生", "Mr.")."""
    for match in _NAME_LABEL.finditer(text):
        yield match.span("name")
    for title in _TITLE.finditer(text):
        if (start := _start_of_name(text, title.start())) is not None:
            yield start, title.start()
    yield from _before_offices(text)
    yield from _western_names(text)


def _before_offices(text: str) -> Iterator[Span]:
    for office in _OFFICES.finditer(text):
        window = text[max(0, office.start() - 3) : office.start()]
        if name := _ADDRESSED.search(window):
            yield office.start() - len(name[0].strip()) + (len(name[0].strip()) > 1), office.start()


def _western_names(text: str) -> Iterator[Span]:
    for pattern in (_WEST_TITLED, _WEST_LABELLED):
        for match in pattern.finditer(text):
            before = text[max(0, match.start() - 12) : match.start()]
            if not _NO_NAMES.search(match["name"]) and not _NO_PERSONS.search(before):
                yield match.span("name")


def _start_of_name(text: str, title: int) -> int | None:
    """Where the name before a title begins: the longest that begins with a surname."""
    for length in (4, 3, 2, 1):
        name = text[max(0, title - length) : title]
        if len(name) == length and re.fullmatch(_SURNAME + f"[{_HAN}]{{0,2}}", name):
            shorter = re.fullmatch(f"[{_SURNAMES}][{_HAN}]?", name[1:])
            if name[0] in _FUNCTION_WORDS and (shorter or length == 1):
                continue
            return title - length
    return None
