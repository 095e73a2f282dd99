"""Configurations: whatever is written, it is read or refused with sentences that a person can use."""
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from appliance import config
from appliance.errors import ConfigurationError

PATH = Path("/etc/appliance/appliance.toml")
FULL = "\n".join(line.removeprefix("# ") if " = " in line or "# [[" in line else line for line in config.example().splitlines())
KEYS = sorted({line.partition(" = ")[0] for line in FULL.splitlines() if " = " in line})
VALUES = st.sampled_from(["0", "-1", "1e999", "nan", "true", "[]", "{}", "[[]]", "{a = 1}", "1979-05-27", "07:32:00", '""', "''", "[1, 2]", '["a", {}]',
                          "9" * 400, '"\\u0000"', '"\\U0010FFFF"', '"[::1%lo]:80"', '"http://["', '"//"', '"%"', '"*"'])
WRITTEN = st.text(st.characters(codec="utf-8", exclude_characters="'\r\n\0"), max_size=40).map(lambda text: f"'{text}'")


def judge(text: str) -> None:
    try:
        read = config.parse(text, PATH)
    except ConfigurationError as error:
        assert error.problems and all(str(PATH) in problem and problem.isprintable() for problem in error.problems)
    else:
        assert read.streams and 1 <= read.server.listen_port <= 65_535 and read.server.state_dir.is_absolute()
        assert all(stream.video.startswith(("/", "http://", "https://")) for stream in read.streams)


@given(st.text())
@example("[[stream]]\nname = 1\n[stream]\n")
@example("a" + ".a" * 2000 + " = 1")
@example("x = " + "{a = " * 2000)
def test_any_text_is_read_or_refused(text):
    judge(text)
    judge(FULL + text)


@given(st.lists(st.tuples(st.sampled_from(KEYS), VALUES | WRITTEN), min_size=1, max_size=4))
def test_any_value_of_any_key_is_read_or_refused(changes):
    changed = dict(changes)
    judge("\n".join(f"{key} = {changed[key]}" if (key := line.partition(" = ")[0]) in changed else line for line in FULL.splitlines()))


@given(st.lists(st.integers(0, len(FULL.splitlines()) - 1), min_size=1, max_size=6), st.booleans())
def test_lines_left_out_or_doubled_are_read_or_refused(numbers, double):
    lines = FULL.splitlines()
    judge("\n".join(line for number, line in enumerate(lines) for _ in range((2 if double else 0) if number in numbers else 1)))
