"""Every Binary HTTP message that must be refused: the source of the failure vectors."""

from __future__ import annotations

from mitai_crypto.varint import encode_varint
from support.ohttp_failures import FailureVector, vector

NONE = b""


def string(value: bytes) -> bytes:
    """Return length ‖ value."""
    return encode_varint(len(value)) + value


def lines(*fields: tuple[bytes, bytes]) -> bytes:
    """Return field lines without judging them."""
    return b"".join(string(name) + string(value) for name, value in fields)


def control(
    method: bytes = b"POST",
    scheme: bytes = b"https",
    authority: bytes = b"mitai.invalid",
    path: bytes = b"/v1/completions",
) -> bytes:
    """Return a request's control data."""
    return b"".join(map(string, (method, scheme, authority, path)))


def request(fields: bytes = NONE, content: bytes = NONE, trailers: bytes = NONE, **parts: bytes) -> bytes:
    """Return a known-length request without judging it."""
    return b"\x00" + control(**parts) + string(fields) + string(content) + string(trailers)


def response(fields: bytes = NONE, content: bytes = NONE, trailers: bytes = NONE, status: int = 200) -> bytes:
    """Return a known-length response without judging it."""
    return b"\x01" + encode_varint(status) + string(fields) + string(content) + string(trailers)


def stream(fields: bytes = NONE, *chunks: bytes, trailers: bytes = NONE, status: int = 200) -> bytes:
    """Return an indeterminate-length response without judging it."""
    content = b"".join(map(string, chunks))
    return b"\x03" + encode_varint(status) + fields + b"\x00" + content + b"\x00" + trailers + b"\x00"


def _bad_fields() -> dict[str, tuple[str, bytes]]:
    """Name every field line that no message may carry."""
    return {
        "name_in_upper_case": ("A field name has an upper-case letter.", lines((b"Date", b"today"))),
        "name_empty": ("A field name is empty.", b"\x00" + string(b"value")),
        "name_with_space": ("A field name holds a space.", lines((b"a b", b"value"))),
        "name_with_colon": ("A field name holds a colon.", lines((b"a:b", b"value"))),
        "name_not_ascii": ("A field name is not ASCII.", lines(("名".encode(), b"value"))),
        "pseudo_field": ("A pseudo-field repeats control data.", lines((b":path", b"/metrics"))),
        "value_with_crlf": ("A field value would begin a second line.", lines((b"a", b"b\r\nx-admin: 1"))),
        "value_with_cr": ("A field value holds CR.", lines((b"a", b"b\rc"))),
        "value_with_lf": ("A field value holds LF.", lines((b"a", b"b\nc"))),
        "value_with_nul": ("A field value holds NUL.", lines((b"a", b"b\x00c"))),
        "value_with_escape": ("A field value holds another control character.", lines((b"a", b"\x1b[2J"))),
        "value_begins_with_space": ("A field value begins with a space.", lines((b"a", b" b"))),
        "value_ends_with_tab": ("A field value ends with a tab.", lines((b"a", b"b\t"))),
        "connection": ("A connection field is inside.", lines((b"connection", b"close"))),
        "keep_alive": ("A connection field is inside.", lines((b"keep-alive", b"timeout=5"))),
        "proxy_connection": ("A connection field is inside.", lines((b"proxy-connection", b"close"))),
        "te": ("A connection field is inside.", lines((b"te", b"trailers"))),
        "transfer_encoding": ("A second framing is declared.", lines((b"transfer-encoding", b"chunked"))),
        "upgrade": ("A connection field is inside.", lines((b"upgrade", b"websocket"))),
        "content_length_disagrees": ("The content has another length.", lines((b"content-length", b"4"))),
        "content_length_twice": (
            "Two lengths are declared.",
            lines((b"content-length", b"5"), (b"content-length", b"5")),
        ),
        "content_length_signed": ("A length has a sign.", lines((b"content-length", b"+5"))),
        "content_length_listed": ("A length is a list.", lines((b"content-length", b"5, 5"))),
        "too_many_lines": ("A section has 129 lines.", lines(*[(b"a", b"b")] * 129)),
        "section_over_cap": ("A section is over 65,536 bytes.", lines(*[(b"a", b"b" * 700)] * 100)),
    }


def _refused(reason: str, data: bytes, released: bytes = b"") -> FailureVector:
    return vector(reason, "BhttpError", data, released)


def request_failures() -> dict[str, FailureVector]:
    """Name every request that must be refused."""
    good = request(lines((b"date", b"today")), b"hello")
    head = b"\x02" + control()
    failures = {name: _refused(reason, request(bad, b"hello")) for name, (reason, bad) in _bad_fields().items()}
    return failures | {
        "empty": _refused("Nothing at all.", b""),
        "framing_of_a_response": _refused("The framing indicator says response.", b"\x01" + good[1:]),
        "framing_unknown": _refused("Nobody defined this framing indicator.", b"\x04" + good[1:]),
        "cut_inside_control_data": _refused("Cut inside the path.", good[:30]),
        "cut_inside_section": _refused("Cut inside the header section.", good[:-8]),
        "cut_inside_content": _refused("Cut inside the content.", good[:-2]),
        "stream_cut_in_headers": _refused("Header lines without their end.", head + lines((b"a", b"b"))),
        "stream_cut_in_content": _refused("Content chunks without their end.", head + b"\x00" + string(b"hello")),
        "stream_cut_inside_chunk": _refused("Cut inside a content chunk.", head + b"\x00\x05hell"),
        "line_over_end_of_section": _refused(
            "A field line is longer than its section.", b"\x00" + control() + b"\x04\x01a\x05b" + bytes(8)
        ),
        "padding_not_zero": _refused("The padding hides a byte.", good + b"\x00\x00\x01\x00"),
        "trailers": _refused("A request has trailers.", request(NONE, b"hello", lines((b"a", b"b")))),
        "stream_trailers": _refused(
            "A request has trailers.",
            head + b"\x00" + string(b"hello") + b"\x00" + lines((b"a", b"b")) + b"\x00",
        ),
        "method_empty": _refused("The method is empty.", request(method=b"")),
        "method_with_space": _refused("The method holds a second request line.", request(method=b"GET / HTTP/1.1\r\n")),
        "scheme_http": _refused("The scheme is not https.", request(scheme=b"http")),
        "scheme_in_upper_case": _refused("The scheme is written in capitals.", request(scheme=b"HTTPS")),
        "authority_with_crlf": _refused("The authority holds a line end.", request(authority=b"a\r\nhost: b")),
        "authority_with_space": _refused("The authority holds a space.", request(authority=b"a b")),
        "path_empty": _refused("The path is empty.", request(path=b"")),
        "path_relative": _refused("The path does not start with a slash.", request(path=b"v1/models")),
        "path_asterisk": _refused("The path is an asterisk.", request(path=b"*")),
        "path_with_space": _refused("The path holds a space.", request(path=b"/a HTTP/1.1")),
        "path_with_fragment": _refused("The path has a fragment.", request(path=b"/a#b")),
        "path_not_ascii": _refused("The path is not ASCII.", request(path="/密".encode())),
        "path_over_cap": _refused("The path is over 8,192 bytes.", request(path=b"/" + b"a" * 8192)),
        "length_of_2_to_62": _refused("A length that no memory could hold.", b"\x00" + b"\xff" * 8),
        "content_length_of_2_to_62": _refused(
            "A content length that no memory could hold.", b"\x00" + control() + b"\x00" + b"\xff" * 8
        ),
    }


def response_failures() -> dict[str, FailureVector]:
    """Name every response that must be refused."""
    date = lines((b"date", b"today"))
    good = response(date, b"hello", lines((b"mitai-receipt", b"r")))
    early = {"content_length_twice", "content_length_signed", "content_length_listed"}
    failures = {}
    for name, (reason, bad) in _bad_fields().items():
        failures[name] = _refused(reason, response(bad, b"hello"))
        if name not in {"name_empty", *early}:
            failures[f"stream_{name}"] = _refused(reason, stream(bad, b"hel", b"lo"), _released(name))
    return failures | {
        "empty": _refused("Nothing at all.", b""),
        "framing_of_a_request": _refused("The framing indicator says request.", b"\x00" + good[1:]),
        "framing_unknown": _refused("Nobody defined this framing indicator.", b"\x3f" + good[1:]),
        "no_status": _refused("Only a framing indicator.", b"\x01"),
        "status_600": _refused("No such status.", response(status=600)),
        "status_0": _refused("No such status.", response(status=0)),
        "informational_only": _refused("No final response follows.", b"\x01" + encode_varint(102) + b"\x00"),
        "switching_protocols": _refused("A sealed response switches protocols.", b"\x01\x40\x65\x00" + good[1:]),
        "nine_informational": _refused("Nine informational responses.", b"\x01" + b"\x40\x66\x00" * 9 + good[1:]),
        "cut_inside_section": _refused("Cut inside the header section.", good[:8]),
        "cut_inside_content": _refused("Cut inside the content.", response(NONE, b"hello")[:-3], b"hel"),
        "cut_inside_trailers": _refused("Cut inside the trailers.", good[:-1], b"hello"),
        "stream_cut_in_headers": _refused("Header lines without their end.", b"\x03\x40\xc8" + date),
        "stream_cut_in_content": _refused("No end of the content.", stream(NONE, b"hello")[:-2], b"hello"),
        "stream_cut_inside_chunk": _refused("Cut inside a chunk.", stream(NONE, b"hello")[:-3], b"hell"),
        "stream_cut_in_trailers": _refused(
            "Trailers without their end.", stream(NONE, b"hello", trailers=date)[:-1], b"hello"
        ),
        "padding_not_zero": _refused("The padding hides a byte.", good + b"\x00\x01", b"hello"),
        "trailers_with_content_length": _refused(
            "A length comes after the content.",
            response(NONE, b"hello", lines((b"content-length", b"5"))),
            b"hello",
        ),
        "trailers_with_host": _refused(
            "A host comes after the content.",
            stream(NONE, b"hello", trailers=lines((b"host", b"a"))),
            b"hello",
        ),
        "trailers_with_crlf": _refused(
            "A trailer would begin a second line.",
            stream(NONE, b"hello", trailers=lines((b"a", b"b\r\nc"))),
            b"hello",
        ),
        "content_shorter_than_declared": _refused(
            "The content ends before the declared length.",
            stream(lines((b"content-length", b"9")), b"hello"),
            b"hello",
        ),
    }


def _released(name: str) -> bytes:
    """Return the content that comes out before a disagreeing length shows: the chunks that still fitted."""
    return b"hel" if name == "content_length_disagrees" else b""


def key_config_failures() -> dict[str, FailureVector]:
    """Name every key configuration that must be refused."""
    key = bytes(range(32))
    pairs = b"\x00\x04\x00\x01\x00\x02"
    good = b"\x01\x00\x20" + key + pairs

    def refused(reason: str, data: bytes) -> FailureVector:
        return vector(reason, "KeyConfigError", data)

    return {
        "empty": refused("Nothing at all.", b""),
        "cut_inside_kem": refused("Cut inside the KEM's number.", good[:2]),
        "cut_inside_key": refused("Cut inside the public key.", good[:20]),
        "cut_after_key": refused("No list of suites.", good[:35]),
        "cut_inside_suites": refused("Cut inside the list of suites.", good[:-1]),
        "byte_after_end": refused("A byte follows.", good + b"\x00"),
        "two_configs": refused("A second configuration follows.", good + good),
        "no_suites": refused("The list of suites is empty.", good[:35] + b"\x00\x00"),
        "half_a_suite": refused(
            "The list is not a multiple of four bytes.", good[:35] + b"\x00\x06" + pairs[2:] + b"\x00\x01"
        ),
        "suite_twice": refused("A suite occurs twice.", good[:35] + b"\x00\x08" + pairs[2:] * 2),
        "kem_unknown": refused("Nobody defined this KEM.", b"\x01\x12\x34" + key + pairs),
        "kem_p256": refused("A KEM that is not used here.", b"\x01\x00\x10" + bytes(65) + pairs),
        "kdf_unknown": refused("A KDF that is not used here.", good[:35] + b"\x00\x04\x00\x03\x00\x02"),
        "kdf_one_stage": refused("A one-stage KDF.", good[:35] + b"\x00\x04\x00\x11\x00\x02"),
        "aead_export_only": refused("The AEAD that seals nothing.", good[:35] + b"\x00\x04\x00\x01\xff\xff"),
        "mlkem_key_not_reduced": refused(
            "The ML-KEM key fails the modulus check.", b"\x01\x64\x7a" + b"\xff" * 1184 + key + pairs
        ),
    }
