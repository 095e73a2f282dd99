"""SRTP protection against the RFCs' test vectors and against libsrtp (pylibsrtp), an independent reader."""
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pylibsrtp import Error, Policy, Session as Reader

from cext.srtp import AEAD_AES_128_GCM, AES128_CM_SHA1_80, IPSEC_MB, OPENSSL, VAES, Session, derive, routes

KEY = bytes(range(16))
SALTS = {AEAD_AES_128_GCM: bytes(range(100, 112)), AES128_CM_SHA1_80: bytes(range(100, 114))}
READERS = {AEAD_AES_128_GCM: Policy.SRTP_PROFILE_AEAD_AES_128_GCM, AES128_CM_SHA1_80: Policy.SRTP_PROFILE_AES128_CM_SHA1_80}
NAMES = {OPENSSL: "openssl", IPSEC_MB: "ipsec-mb", VAES: "vaes"}
routes_here = pytest.mark.parametrize("route", routes(), ids=[NAMES[route] for route in routes()])
both_profiles = pytest.mark.parametrize("profile", SALTS, ids=["AEAD_AES_128_GCM", "AES128_CM_SHA1_80"])


def reader(profile: int) -> Reader:
    return Reader(Policy(key=KEY + SALTS[profile], ssrc_type=Policy.SSRC_ANY_INBOUND, srtp_profile=READERS[profile]))


def session(profile: int, route: int = OPENSSL) -> Session:
    return Session(profile, *derive(profile, KEY, SALTS[profile]), route)


def header(index: int, extension: bytes = b"") -> bytes:
    first = 0x90 if extension else 0x80
    fixed = struct.pack("!BBHII", first, 0x80 | 102, index & 0xFFFF, 0x1234_5678, 0xCAFE_BABE)
    return fixed + (struct.pack("!HH", 0xBEDE, len(extension) // 4) + extension if extension else b"")


def test_keys_are_derived_as_in_rfc_3711_appendix_b3():
    key, salt, authentication = derive(AES128_CM_SHA1_80, bytes.fromhex("E1F97A0D3E018BE0D64FA32C06DE4139"),
                                       bytes.fromhex("0EC675AD498AFEEBB6960B3AABE6"))
    assert key.hex().upper() == "C61E7A93744F39EE10734AFE3FF7A087"
    assert salt.hex().upper() == "30CBBC08863D8C85D49DB34A9AE1"
    assert authentication.hex().upper() == "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"


def test_counter_mode_makes_the_key_stream_of_rfc_3711_appendix_b2():
    protected = Session(AES128_CM_SHA1_80, bytes.fromhex("2B7E151628AED2A6ABF7158809CF4F3C"),
                        bytes.fromhex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD")).protect(0, bytes(12), bytes(48))
    assert protected[12:-10].hex().upper() == ("E03EAD0935C95E80E166B16DD92B4EB4" "D23513162B02D0F72A43A2FE4A5F97AB"
                                               "41E95B3BB0A2E8DD477901E4FCA894C0")


@routes_here
def test_gcm_protects_the_packet_of_rfc_7714_section_16_1_1(route):
    packet = bytes.fromhex("8040f17b8041f8d35501a0b2" "47616c6c696120657374206f6d6e697320646976697361"
                           "20696e207061727465732074726573")
    protected = Session(AEAD_AES_128_GCM, KEY, bytes.fromhex("517569642070726f2071756f"), route=route).protect(0xF17B, packet[:12], packet[12:])
    assert protected.hex() == ("8040f17b8041f8d35501a0b2" "f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833"
                               "899d7f27beb16a9152cf765ee4390cce")


@routes_here
@both_profiles
@settings(max_examples=60, deadline=None)
@given(start=st.integers(0, 0x7FFF), payloads=st.lists(st.binary(max_size=1160), min_size=1, max_size=6),
       words=st.integers(0, 7))
def test_libsrtp_reads_what_we_protect(profile, route, start, payloads, words):
    ours, theirs = session(profile, route), reader(profile)
    for index, payload in enumerate(payloads, start):
        plain = header(index, bytes([0x52, 0, 0, 0]) * words)
        assert theirs.unprotect(ours.protect(index, plain, payload)) == plain + payload


@both_profiles
def test_libsrtp_follows_over_two_roll_overs(profile):
    ours, theirs = session(profile), reader(profile)
    for index in range(0x7FFF, 0x2_8000, 1):
        # Every packet near a roll-over, every hundredth elsewhere: a receiver may lose the others.
        if index % 100 == 0 or (index + 200) % 0x1_0000 < 400:
            assert theirs.unprotect(ours.protect(index, header(index), b"picture"))[12:] == b"picture"


@both_profiles
def test_the_same_index_and_octets_give_the_same_packet(profile):
    ours = session(profile)
    once = ours.protect(7, header(7), b"picture")
    ours.protect(8, header(8), b"another")
    assert ours.protect(7, header(7), b"picture") == once


@both_profiles
def test_a_changed_octet_anywhere_is_refused_by_libsrtp(profile):
    protected = session(profile).protect(7, header(7, bytes(8)), b"picture")
    for position in range(2, len(protected)):
        with pytest.raises(Error):
            reader(profile).unprotect(protected[:position] + bytes([protected[position] ^ 1]) + protected[position + 1:])


@both_profiles
def test_wrong_key_lengths_and_indices_are_refused(profile):
    with pytest.raises(ValueError):
        derive(profile, KEY[:15], SALTS[profile])
    with pytest.raises(ValueError):
        derive(profile, KEY, SALTS[profile] + b"x")
    with pytest.raises(RuntimeError):
        session(profile).protect(1 << 48, header(0), b"")


def test_an_unknown_profile_is_refused():
    with pytest.raises(ValueError):
        derive(0x0008, KEY, bytes(12))


def test_a_route_that_this_machine_lacks_is_refused():
    with pytest.raises(RuntimeError):
        Session(AEAD_AES_128_GCM, KEY, SALTS[AEAD_AES_128_GCM], route=max(NAMES) + 1)


@settings(max_examples=200, deadline=None)
@given(index=st.integers(0, 2**48 - 1), payload=st.binary(max_size=1200), words=st.integers(0, 8))
def test_every_route_makes_the_same_octets(index, payload, words):
    packets = {session(AEAD_AES_128_GCM, route).protect(index, header(index, bytes(4 * words)), payload) for route in routes()}
    assert len(packets) == 1


def test_every_route_makes_the_same_octets_of_each_length():
    sessions = [session(AEAD_AES_128_GCM, route) for route in routes()]
    payload = bytes(octet * 7 & 0xFF for octet in range(600))
    for length in range(len(payload)):
        for words in (0, 1, 5, 8):
            packets = {each.protect(length, header(length, bytes(4 * words)), payload[:length]) for each in sessions}
            assert len(packets) == 1, (length, words)
