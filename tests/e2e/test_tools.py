# SPDX-License-Identifier: Apache-2.0
"""The tests' own packets, checked against examples that the standards print."""
import jt808wire
import mqttwire
import polygate


def test_variable_length_numbers_are_those_of_the_standard():
    # MQTT 5.0, 1.5.5, table 1-1
    for number, data in ((0, "00"), (127, "7f"), (128, "8001"), (16383, "ff7f"), (16384, "808001"),
                         (2097151, "ffff7f"), (2097152, "80808001"), (268435455, "ffffff7f")):
        assert mqttwire.varint(number) == bytes.fromhex(data)


def test_escaping_is_that_of_the_standard():
    # JT/T 808, 4.4.2: the example of escaping
    plain = bytes.fromhex("30 7e 08 7d 55")
    assert jt808wire.escape(plain) == bytes.fromhex("30 7d 02 08 7d 01 55")
    assert jt808wire.unescape(jt808wire.escape(plain)) == plain


def test_a_frame_comes_back():
    for edition, phone in ((2013, "013912345678"), (2019, "00000000013912345678")):
        body = jt808wire.location_body()
        got = jt808wire.Frame(jt808wire.frame(0x0200, phone, 7, body, edition))
        assert (got.message, got.phone, got.serial, got.body, got.edition) == (
            0x0200, phone, 7, body, edition)


def test_log_lines_are_taken_apart():
    line = r'2026-01-01T00:00:00Z level=info event=closed client="a \"b\" c" reason=taken_over'
    assert polygate.parse_line(line) == {
        "level": "info", "event": "closed", "client": 'a "b" c', "reason": "taken_over"}
