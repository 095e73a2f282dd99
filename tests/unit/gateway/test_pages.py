"""The viewer's files: types, caching, and that nothing else can be asked for."""
from appliance.gateway import pages


def make_dist(folder):
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html>")
    (folder / "viewer.js").write_text("1")
    (folder / "assets" / "chunk-A1B2C3D4.js").write_text("2")
    (folder / "mark.svg").write_text("<svg/>")
    (folder / "strange.bin").write_text("3")
    (folder / "secret").symlink_to("/etc/passwd")
    return folder


def test_every_file_is_read_with_its_type(tmp_path):
    found = pages.read(make_dist(tmp_path / "dist"))
    assert {path: page.content_type.partition(";")[0] for path, page in found.items()} == {
        "/": "text/html", "/index.html": "text/html", "/viewer.js": "text/javascript", "/assets/chunk-A1B2C3D4.js": "text/javascript",
        "/mark.svg": "image/svg+xml", "/strange.bin": "application/octet-stream"}


def test_only_files_with_a_hash_in_their_name_are_kept_unasked(tmp_path):
    found = pages.read(make_dist(tmp_path / "dist"))
    assert [path for path, page in found.items() if "immutable" in page.cache_control] == ["/assets/chunk-A1B2C3D4.js"]
    assert found["/viewer.js"].cache_control == "no-cache"


def test_the_tag_follows_the_content():
    assert pages.page_of("a.js", b"1").etag == pages.page_of("b.js", b"1").etag != pages.page_of("a.js", b"2").etag


def test_without_a_build_the_page_says_how_to_make_one(tmp_path):
    assert not pages.built(tmp_path)
    assert b"make build" in pages.read(tmp_path)["/"].body
