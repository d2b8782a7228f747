"""Texts of chrony and linuxptp, written after their documented formats; neither was run on real PTP hardware."""

import pytest
from ethostream.sync.errors import ClockError
from ethostream.sync.trusted_time import read_chrony, read_ptp

CHRONY = (
    "C0A80105,192.168.1.5,3,1700000000.123456789,0.000012345,-0.000003210,0.000021000,-12.345,0.003,0.045,"
    "0.001200000,0.000300000,64.2,Normal\n"
)
PTP = """sending: GET TIME_STATUS_NP
\t90e2ba.fffe.20c7f8-0 seq 0 RESPONSE MANAGEMENT TIME_STATUS_NP
\t\tmaster_offset              310
\t\tingress_time               1361545089345029441
\t\tcumulativeScaledRateOffset +1.000000000
\t\tgmTimeBaseIndicator        0
\t\tlastGmPhaseChange          0x0000'0000000000000000.0000
\t\tgmPresent                  true
\t\tgmIdentity                 00a069.fffe.0b552d
sending: GET PORT_DATA_SET
\t90e2ba.fffe.20c7f8-1 seq 1 RESPONSE MANAGEMENT PORT_DATA_SET
\t\tportIdentity            90e2ba.fffe.20c7f8-1
\t\tportState               SLAVE
\t\tlogMinDelayReqInterval  0
"""


def test_chrony_says_how_slow_the_clock_is() -> None:
    trusted = read_chrony(CHRONY)
    assert trusted.reference == "chrony 192.168.1.5"
    assert (trusted.offset_ns, trusted.jitter_ns) == (12_345, 21_000)
    assert trusted.error_bound_ns == 12_345 + 300_000 + 600_000


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (CHRONY.replace("Normal", "Not synchronised"), "not synchronised.*chronyc sources"),
        ("00000000,,0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,1.0,0.0,Normal\n", "not synchronised"),
        ("506 Cannot talk to daemon\n", "1 fields.*chrony 4"),
        (CHRONY.replace("0.000012345", "slow"), "could not convert"),
        (CHRONY.replace("0.000012345", "nan"), "no number"),
        (CHRONY.replace(CHRONY.split(",", maxsplit=1)[0], "here", 1), "invalid literal"),
        ("", "1 fields"),
    ],
)
def test_a_chrony_that_cannot_be_believed_is_refused(text: str, why: str) -> None:
    with pytest.raises(ClockError, match=why):
        read_chrony(text)


def test_ptp_says_how_far_the_clock_is_ahead() -> None:
    assert read_ptp(PTP) == ("ptp 00a069.fffe.0b552d", -310, -1, -1)


def test_a_grandmaster_is_its_own_reference() -> None:
    text = PTP.replace("gmPresent                  true", "gmPresent                  false").replace("SLAVE", "MASTER")
    assert read_ptp(text).offset_ns == 0 and "this host" in read_ptp(text).reference


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (PTP.replace("SLAVE", "LISTENING"), "no grandmaster.*LISTENING"),
        (PTP.replace("gmPresent                  true", "gmPresent                  false"), "gmPresent false"),
        (PTP.replace("310", "nan?"), "a number"),
        (PTP.replace("310", "inf"), "a number"),
        ("sending: GET TIME_STATUS_NP\nsending: GET PORT_DATA_SET\n", "is ptp4l running"),
        ("", "is ptp4l running"),
    ],
)
def test_a_ptp_that_cannot_be_believed_is_refused(text: str, why: str) -> None:
    with pytest.raises(ClockError, match=why):
        read_ptp(text)
