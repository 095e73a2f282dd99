"""[worklist] and [pacs]: optional, complete or refused with what to write."""
from pathlib import Path

import pytest

from appliance import config
from appliance.errors import ConfigurationError
from appliance.hospital_config import DimsePeer, PacsConfig, TlsConfig, WebPeer, WorklistConfig

PATH = Path("/etc/appliance/appliance.toml")
STREAM = '[[stream]]\nname = "endoscope"\ninterface = "lo"\nvideo = "endoscope.sdp"\n'


def read(text):
    return config.parse(STREAM + text, PATH)


def problems(text):
    with pytest.raises(ConfigurationError) as refused:
        read(text)
    return " ".join(refused.value.problems)


def test_without_the_tables_there_is_no_hospital():
    assert (read("").worklist, read("").pacs, read("").hospital) == (None, None, False)


def test_a_worklist_needs_an_address_and_a_title():
    found = read('station = "ENDO3"\n[worklist]\nhost = "ris"\nae_title = "RIS"\n')
    assert found.worklist == WorklistConfig(DimsePeer("ris", 104, "RIS")) and found.hospital and found.streams[0].station == "ENDO3"
    secured = read('[worklist]\nhost = "ris"\nport = 2762\nae_title = "RIS"\nmodality = "ES"\ntls = true\nca_certificate = "ca.pem"\ntimeout_s = 5\n').worklist
    assert secured == WorklistConfig(DimsePeer("ris", 2762, "RIS", tls=TlsConfig(PATH.parent / "ca.pem"), timeout_s=5), "ES")
    assert "[worklist] host" in problems("[worklist]\n") and "[worklist] ae_title" in problems('[worklist]\nhost = "ris"\n')


def test_a_pacs_is_spoken_to_by_the_web_or_by_dimse():
    assert read('[pacs]\ndicomweb = "https://pacs.example/dicom-web/"\ntoken = "t"\n').pacs == PacsConfig(WebPeer("https://pacs.example/dicom-web", token="t"), None)
    both = read('[pacs]\ndicomweb = "https://p/x"\nhost = "pacs"\nae_title = "PACS"\nfull_depth = false\nhistory_ms = 0\nqueue_mb = 16\n').pacs
    assert both.peer is both.web and both.dimse == DimsePeer("pacs", 104, "PACS") and (both.full_depth, both.history_ms, both.queue_mb) == (False, 0, 16)
    assert read('[pacs]\nhost = "pacs"\nae_title = "PACS"\n').pacs.peer == DimsePeer("pacs", 104, "PACS")


@pytest.mark.parametrize(("text", "words"), [
    ("[pacs]\n", "or host, port and ae_title"), ('[pacs]\ndicomweb = "ftp://x"\n', "base URL"), ('[pacs]\ndicomweb = "https://user:secret@x/"\n', "base URL"),
    ('[pacs]\ndicomweb = "https://x"\nusername = "u"\n', "username and password together"),
    ('[pacs]\ndicomweb = "https://x"\nusername = "u"\npassword = "p"\ntoken = "t"\n', "token alone"),
    ('[pacs]\nhost = "pacs"\nae_title = "A TITLE THAT IS TOO LONG"\n', "an AE title"), ('[pacs]\nhost = "pacs"\nae_title = "A\\\\B"\n', "an AE title"),
    ('[worklist]\nhost = "http://ris"\nae_title = "RIS"\n', "a host name"), ('[worklist]\nhost = "ris"\nae_title = "RIS"\nport = 0\n', "from 1 to 65535"),
    ('[worklist]\nhost = "ris"\nae_title = "RIS"\ntls = 1\n', "true or false"), ('[worklist]\nhost = "ris"\nae_title = "RIS"\ncertificate = "x"\n', "certificate_key together"),
    ('[worklist]\nhost = "ris"\nae_titel = "RIS"\n', "ae_title")])
def test_what_cannot_be_used_is_refused_by_name(text, words):
    assert words in problems(text)
