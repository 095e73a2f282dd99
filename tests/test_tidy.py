"""The house rules that a machine can check: imports point downward, stages do not know each other, files stay small."""
import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "appliance").rglob("*.py"))
STAGES = ("ingest", "convert", "encode", "fanout", "metadata", "gateway", "exporter", "sound", "hospital")
VALUES = ("errors", "clock", "frame", "version")
# What a part of the appliance may import of it, besides itself. Everything else is allowed nothing by this table and must be added here.
ALLOWED = {
    **dict.fromkeys(VALUES, ()),
    "toml_table": ("errors",),
    "hospital_config": ("toml_table",),
    "config": (*VALUES, "toml_table", "hospital_config"),
    "protocol": VALUES,
    "runtime": (*VALUES, "config", "protocol"),
    **dict.fromkeys(STAGES, (*VALUES, "config", "protocol", "runtime", "tokens", "multicast", "hospital_config")),
    "tokens": (*VALUES, "config"),
    "topology": (*VALUES, "config", "protocol", "runtime"),
    "resources": (*VALUES, "config", "runtime", "topology"),
    "descriptions": (*VALUES, "config", "protocol", "runtime"),
    "wanted": (*VALUES, "config", "protocol", "runtime", "descriptions"),
    "supervisor": (*VALUES, "config", "runtime", "topology", "resources", "wanted"),
    "packets": (*VALUES, "config", "protocol", "runtime", "descriptions"),
    "source": (*VALUES, "protocol", "runtime"),
    "check": (*VALUES, "config", "protocol", "runtime", "topology", "resources", "descriptions", "gateway", "tokens", "status", "hospital"),
    "status": (*VALUES, "config"),
    "demo": (*VALUES, "config", "tokens", "status"),
}
LINES_MAX = {".py": 600, ".pyx": 600, ".c": 600, ".h": 600, ".ts": 600}
# Nothing of the network or the clock belongs into a protocol.
NOT_IN_PROTOCOL = {"socket", "time", "logging", "threading", "asyncio", "cext"}


def part(path):
    """The first level below appliance/ that a module belongs to."""
    return path.relative_to(ROOT / "appliance").parts[0].removesuffix(".py")


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names if node.module == "appliance")


@pytest.mark.parametrize("path", [path for path in MODULES if part(path) not in ("__main__", "__init__")], ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downward(path):
    allowed = {*ALLOWED[part(path)], part(path)}
    for name in imports(path):
        words = name.split(".")
        if words[0] == "appliance" and len(words) > 1:
            assert words[1] in allowed, f"{path.relative_to(ROOT)} imports appliance.{words[1]}"
        if part(path) == "protocol":
            assert words[0] not in NOT_IN_PROTOCOL, f"{path.relative_to(ROOT)} imports {words[0]}"


@pytest.mark.parametrize("path", sorted((ROOT / "cext").glob("*.pyx")), ids=lambda path: path.name)
def test_compiled_code_knows_nothing_of_the_appliance(path):
    assert not re.search(r"\bappliance\b.*import|import\s+appliance\b|from\s+appliance\b", path.read_text())


def sources():
    folders = ("appliance", "cext", "tests", "systemd", "monitoring")
    for path in sorted(path for folder in folders for path in (ROOT / folder).rglob("*")):
        generated = path.suffix == ".c" and path.parent.name == "cext"
        if path.suffix in LINES_MAX and "node_modules" not in path.parts and "dist" not in path.parts and not generated:
            yield path


@pytest.mark.parametrize("path", list(sources()), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_too_long_or_unfinished(path):
    text = path.read_text()
    assert text.count("\n") <= LINES_MAX[path.suffix]
    words = "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK"))
    assert not re.search(rf"\b({words})\b", text)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_public_name_says_what_it_is(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), f"{path.relative_to(ROOT)} has no module docstring"
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            if node in tree.body:
                assert ast.get_docstring(node), f"{path.relative_to(ROOT)}: {node.name} has no docstring"


def test_no_function_is_longer_than_a_screen():
    long = []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno >= 60:
                long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert long == []
