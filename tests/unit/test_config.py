"""The configuration file: defaults, every kind of mistake named with its place and remedy, and never an unplanned exception."""
from dataclasses import replace
from pathlib import Path

import pytest

from appliance import config
from appliance.errors import ConfigurationError
from appliance.frame import LEVELS, VideoFormat

PATH = Path("/etc/appliance/appliance.toml")
STREAM = '[[stream]]\nname = "endoscope"\ninterface = "lo"\nvideo = "endoscope.sdp"\n'


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        config.parse(text, PATH)
    return caught.value.problems


def only_problem(text: str) -> str:
    found = problems(text)
    assert len(found) == 1, found
    return found[0]


def server(lines: str) -> config.ServerConfig:
    return config.parse(f"[server]\n{lines}\n{STREAM}", PATH).server


def test_a_stream_alone_is_a_whole_configuration():
    read = config.parse(STREAM, PATH)
    assert (read.server.listen_host, read.server.listen_port) == ("127.0.0.1", 8443)
    assert (read.server.metrics_host, read.server.metrics_port) == ("127.0.0.1", 9464)
    assert read.server.state_dir == Path("/etc/appliance/state")
    assert read.server.certificate is None and read.server.certificate_key is None
    assert 2 <= read.server.fanout_workers <= 8
    assert read.server.media_addresses == ("127.0.0.1",)
    assert read.server.viewers_max == 500 and read.server.allowed_origins == () and read.server.ice_servers == ()
    assert read.encoder == config.EncoderConfig("auto", 6000, 2500, 700, "superfast", "constrained-baseline", 10, 1)
    assert read.streams == (config.StreamConfig("endoscope", "endoscope", ("lo",), "/etc/appliance/endoscope.sdp", (), None, class_title="Endoscope"),)


def test_the_example_says_the_defaults():
    read = config.parse(config.example(), PATH)
    assert replace(read, streams=()) == replace(config.parse(STREAM, PATH), streams=())


def test_every_commented_line_of_the_example_is_valid_when_uncommented():
    lines = [line.removeprefix("# ") if " = " in line or "# [" in line else line for line in config.example().splitlines()]
    read = config.parse("\n".join(lines), PATH)
    assert read.server.certificate == Path("/etc/appliance/server.crt")
    assert read.server.ice_servers == (config.IceServer("turn:turn.example:3478", "viewer", "credential-of-the-turn-server"),)
    assert read.streams[0].audio == "/etc/appliance/room.sdp"


def test_load_reads_a_file_and_makes_paths_absolute_beside_it(tmp_path):
    (tmp_path / "appliance.toml").write_text('[server]\nstate_dir = "../kept"\n' + STREAM)
    read = config.load(tmp_path / "appliance.toml")
    assert read.path == tmp_path / "appliance.toml"
    assert read.server.state_dir == tmp_path.parent / "kept"
    assert read.streams[0].video == str(tmp_path / "endoscope.sdp")


def test_absolute_paths_and_urls_stay_as_they_are():
    read = config.parse(STREAM.replace("endoscope.sdp", "https://nmos.example/a/sdp?x=1") + 'metadata = "/srv/m.sdp"\n', PATH)
    assert read.stream("endoscope").video == "https://nmos.example/a/sdp?x=1"
    assert read.stream("endoscope").metadata == ("/srv/m.sdp",)
    with pytest.raises(KeyError):
        read.stream("microscope")


@pytest.mark.parametrize("text, host, port, media", [
    ("0.0.0.0:443", "0.0.0.0", 443, ()),
    ("[::]:8443", "::", 8443, ()),
    ("[2001:db8::7]:8443", "2001:db8::7", 8443, ("2001:db8::7",)),
    ("10.1.2.3:65535", "10.1.2.3", 65535, ("10.1.2.3",)),
    ("localhost:8443", "localhost", 8443, ("127.0.0.1",)),
    ("theatre-3.hospital.example:8443", "theatre-3.hospital.example", 8443, ()),
])
def test_addresses_and_where_the_media_come_from(text, host, port, media):
    read = server(f'listen = "{text}"')
    assert (read.listen_host, read.listen_port, read.media_addresses) == (host, port, media)


@pytest.mark.parametrize("text", ["8443", ":8443", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:+80", "::1:8443",
                                  "[::1]", "[127.0.0.1]:80", "1.2.3:80", "256.1.1.1:80", "a b:80", "-a:80", "host_name/x:80", "127.0.0.1:٣"])
def test_a_bad_address_is_named_with_an_example(text):
    problem = only_problem(f'[server]\nlisten = "{text}"\n{STREAM}')
    assert problem.startswith("/etc/appliance/appliance.toml: [server] listen: expected host:port such as") and text in problem


def test_all_problems_come_at_once():
    found = problems('[server]\nlisten = 8443\nviewers_max = true\n[encoder]\npreset = "fst"\n[[stream]]\nname = "A b"\n')
    assert [problem.split(": ")[1] for problem in found] == [
        "[server] listen", "[server] viewers_max", "[encoder] preset", "[[stream]] 1 name", "[[stream]] 1 interface", "[[stream]] 1 video"]


@pytest.mark.parametrize("text, key, remedy", [
    ("[servre]\n" + STREAM, "'servre'", "Did you mean 'server'?"),
    ('[server]\nlissen = "127.0.0.1:1"\n' + STREAM, "[server] 'lissen'", "Did you mean 'listen'?"),
    (STREAM + 'vidio = "x.sdp"\n', "[[stream]] 1 'vidio'", "Did you mean 'video'?"),
    (STREAM + "zzz = 1\n", "[[stream]] 1 'zzz'", "Remove it."),
    ("[encoder]\nh265 = true\n" + STREAM, "[encoder] 'h265'", "Did you mean 'h264'?"),
])
def test_an_unknown_key_is_refused_with_what_was_meant(text, key, remedy):
    problem = only_problem(text)
    assert f": {key}: expected one of " in problem and problem.endswith(remedy)


@pytest.mark.parametrize("line, expected", [
    ("viewers_max = 0", "a whole number from 1 to 10000"),
    ("viewers_max = 1.5", "a whole number from 1 to 10000"),
    ("fanout_workers = 65", "a whole number from 1 to 64"),
    ('state_dir = ""', "a path"),
    ('media_addresses = "10.0.0.5"', "a list of IP addresses"),
    ('media_addresses = ["0.0.0.0"]', "a list of IP addresses"),
    ('media_ports = "443"', "a UDP port such as"),
    ('media_ports = "50999-50000"', "a UDP port such as"),
    ('media_ports = 8443', "a UDP port such as"),
    ('media_ports = "50000-50099"', "a port for each of viewers_max = 500 viewers"),
    ('media_addresses = ["239.1.1.1"]', "a list of IP addresses"),
    ('allowed_origins = ["player.example"]', "a list of origins"),
    ('allowed_origins = ["https://player.example/page"]', "a list of origins"),
    ('certificate = "server.crt"', "certificate and certificate_key together"),
    ('certificate_key = "server.key"', "certificate and certificate_key together"),
    ('metrics = "127.0.0.1:8443"', "another address than listen has"),
])
def test_a_wrong_value_of_the_server_says_what_is_expected(line, expected):
    assert f"expected {expected}" in only_problem(f"[server]\n{line}\n{STREAM}")


@pytest.mark.parametrize("change, expected", [
    (('"endoscope"\n', '"Endoscope"\n'), "lower-case letters"),
    (('"endoscope"\n', '"a--b"\n'), "lower-case letters"),
    (('"endoscope"\n', '"a/b"\n'), "lower-case letters"),
    (('"endoscope"\n', f'"{"a" * 33}"\n'), "lower-case letters"),
    (('"lo"', '"a b"'), "a network interface"),
    (('"lo"', '"eth0:1"'), "a network interface"),
    (('"lo"', '"a-name-much-too-long"'), "a network interface"),
    (('"endoscope.sdp"', '"rtsp://camera/1"'), "the path of an SDP file"),
    (('"endoscope.sdp"', '"http:///x"'), "the path of an SDP file"),
    (('"endoscope.sdp"', '"a\\u0000b"'), "the path of an SDP file"),
    (('"endoscope.sdp"', '"x.sdp"\ntitle = "a\\u0007b"'), "1 to 120 printable characters"),
    (('"endoscope.sdp"', '"x.sdp"\nclass_title = ""'), "1 to 120 printable characters"),
])
def test_a_wrong_value_of_a_stream_says_what_is_expected(change, expected):
    assert f"expected {expected}" in only_problem(STREAM.replace(*change))


def test_two_paths_have_an_interface_each():
    read = config.parse(STREAM.replace('"lo"', '["eth1", "10.0.0.5"]') + "path_skew_ms = 50\n", PATH).streams[0]
    assert read.interfaces == ("eth1", "10.0.0.5") and read.path_skew_ms == 50
    assert [read.interface_of(path) for path in (0, 1)] == ["eth1", "10.0.0.5"]
    alone = config.parse(STREAM, PATH).streams[0]
    assert [alone.interface_of(path) for path in (0, 1)] == ["lo", "lo"] and alone.path_skew_ms == 10


@pytest.mark.parametrize("written, told", [
    ('["eth1", "eth2", "eth3"]', "a list of 2, got a list of 3"), ("[]", "a list of 2, got a list of 0"), ('["eth1", "a b"]', "got 'a b'"),
    ('["eth1", 2]', "got 2"), ("7", "a list of two for two paths (ST 2022-7), got 7")])
def test_a_list_of_interfaces_that_cannot_be_is_refused(written, told):
    with pytest.raises(ConfigurationError) as refused:
        config.parse(STREAM.replace('"lo"', written), PATH)
    [problem] = refused.value.problems
    assert "[[stream]] 1 interface" in problem and told in problem


def test_an_interface_may_be_an_address():
    assert config.parse(STREAM.replace('"lo"', '"10.0.0.5"'), PATH).streams[0].interfaces == ("10.0.0.5",)


def test_names_of_streams_are_unique():
    assert "'endoscope', which another stream has" in only_problem(STREAM + STREAM)


def test_at_least_one_stream_and_not_too_many():
    assert "at least one stream" in only_problem("")
    assert "Write [[stream]] with two brackets" in only_problem(STREAM.replace("[[stream]]", "[stream]"))
    many = "".join(STREAM.replace("endoscope\"\n", f"endoscope-{number}\"\n", 1) for number in range(config.STREAMS_MAX + 1))
    assert f"at most {config.STREAMS_MAX} streams" in only_problem(many)


def test_the_encoder_may_be_chosen_in_one_word():
    assert config.parse('encoder = "libx264"\n' + STREAM, PATH).encoder == config.EncoderConfig(h264="libx264")
    assert "one of auto, libx264" in only_problem('encoder = "x265"\n' + STREAM)


def test_ice_servers_and_what_turn_needs():
    text = '[[ice_server]]\nurl = "stun:stun.example:3478"\n' + STREAM
    assert config.parse(text, PATH).server.ice_servers == (config.IceServer("stun:stun.example:3478"),)
    assert "username and credential" in only_problem(text.replace("stun:stun", "turn:turn"))
    assert "expected a URL" in only_problem(text.replace("stun:stun.example", "https://x>"))
    shared = text.replace("stun:stun", "turn:turn").replace('3478"\n', '3478"\nsecret = "s"\n')
    assert config.parse(shared, PATH).server.ice_servers == (config.IceServer("turn:turn.example:3478", secret="s"),)
    assert "secret alone" in only_problem(shared.replace('secret = "s"', 'secret = "s"\nusername = "u"\ncredential = "c"'))


def test_what_is_not_toml_is_refused_with_the_line(tmp_path):
    problem = only_problem("[server]\nlisten = \n")
    assert problem.startswith(f"{PATH}, line 2, column") and "expected TOML (https://toml.io), got a mistake: Invalid value." in problem
    assert "TOML" in only_problem("a = " + "[" * 100_000)


def test_an_unreadable_file_is_refused(tmp_path):
    for content, expected in ((b"\xff\xfe", "UTF-8"), (b"#" * (config.FILE_BYTES_MAX + 1), "at most")):
        (tmp_path / "appliance.toml").write_bytes(content)
        with pytest.raises(ConfigurationError, match=expected):
            config.load(tmp_path / "appliance.toml")
    for path in (tmp_path / "missing.toml", tmp_path):
        with pytest.raises(ConfigurationError, match="--config FILE"):
            config.load(path)


def test_an_address_is_joined_as_a_url_writes_it():
    assert config.join_address("127.0.0.1", 80) == "127.0.0.1:80"
    assert config.join_address("::1", 8443) == "[::1]:8443"


@pytest.mark.parametrize("text, rates", [("", (6000, 2500, 700)), ("bitrate_kbps = 3000", (3000, 1250, 350)), ("bitrate_kbps = 100", (100, 41, 30)),
                                         ("bitrate_half_kbps = 1500", (6000, 1500, 700)), ("bitrate_small_kbps = 300", (6000, 2500, 300))])
def test_humbler_levels_get_their_share_of_the_bit_rate_unless_they_have_their_own(text, rates):
    encoder = config.parse(f"[encoder]\n{text}\n" + STREAM, PATH).encoder
    assert tuple(encoder.bitrate_kbps_of(level) for level in LEVELS) == rates


@pytest.mark.parametrize("text, shown", [("", (1920, 1080)), ("height_max = 2160", (3840, 2160)), ("height_max = 721", (1280, 720))])
def test_a_raster_too_high_for_the_encoders_is_shown_lower(text, shown):
    planar = config.parse(f"[encoder]\n{text}\n" + STREAM, PATH).encoder.planar_of(VideoFormat(3840, 2160))
    assert (planar.width, planar.height) == shown
    assert "[encoder] height_max: expected a whole number from 180 to 2160, got 100" in only_problem("[encoder]\nheight_max = 100\n" + STREAM)


def test_a_bit_rate_out_of_range_is_named():
    assert "[encoder] bitrate_small_kbps: expected a whole number from 30 to 100000, got 29" in only_problem("[encoder]\nbitrate_small_kbps = 29\n" + STREAM)


@pytest.mark.parametrize("text, first, last", [("8443", 8443, 8443), ("50000-50499", 50_000, 50_499)])
def test_media_ports_are_one_or_a_range(text, first, last):
    ports = config.parse(f'[server]\nmedia_ports = "{text}"\n{STREAM}', PATH).server.media_ports
    assert (ports.first, ports.last, ports.count, str(ports)) == (first, last, last - first + 1, text)


@pytest.mark.parametrize("written, receive", [("", "auto"), ('receive = "socket"', "socket"), ('receive = "packet-ring"', "packet-ring")])
def test_the_way_to_receive_is_chosen_for_each_stream(tmp_path, written, receive):
    assert config.parse(f'[[stream]]\nname = "a"\ninterface = "lo"\nvideo = "a.sdp"\n{written}', tmp_path / "a.toml").streams[0].receive == receive


def test_an_unknown_way_to_receive_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="auto, packet-ring, socket"):
        config.parse('[[stream]]\nname = "a"\ninterface = "lo"\nvideo = "a.sdp"\nreceive = "dpdk"', tmp_path / "a.toml")


def test_metadata_may_come_in_several_flows_and_over_a_websocket():
    read = config.parse(STREAM + 'metadata = ["m.sdp", "wss://camera.example/rtv", "http://sound.example/m.sdp"]\nmetadata_authority = "plant.pem"\n', PATH)
    assert read.streams[0].metadata == ("/etc/appliance/m.sdp", "wss://camera.example/rtv", "http://sound.example/m.sdp")
    assert read.streams[0].metadata_authority == Path("/etc/appliance/plant.pem")


@pytest.mark.parametrize("value", ["7", '["a.sdp", 7]', '["a.sdp", "a.sdp"]', '"wss://"', '"ws://host:99999/"', '"ftp://host/a"', "[" + ", ".join(f'"{n}.sdp"' for n in range(9)) + "]"])
def test_metadata_that_cannot_be_is_refused(value):
    with pytest.raises(ConfigurationError, match="metadata"):
        config.parse(STREAM + f"metadata = {value}\n", PATH)
