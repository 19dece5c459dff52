"""How a request is told: who leaves, or which records go of clients who stay."""

import pandas as pd
import pytest

from fedunlearn.results import Wish, all_wishes, then

OWNERS = {2: "Ann", 3: "Bo"}

TOLD = {
    ("", "everything"): ("nobody", "nobody leaves", "nobody left"),
    ("", "labels=7"): ("nobody", "nobody leaves", "nobody left"),
    ("2", "everything"): ("client 2 (Ann)", "client 2 (Ann) leaves", "client 2 (Ann) left"),
    ("0+2", "everything"): (
        "clients 0 and 2 (Ann)",
        "clients 0 and 2 (Ann) leave",
        "clients 0 and 2 (Ann) left",
    ),
    ("2", "labels=7"): (
        "label 7 of client 2 (Ann)",
        "client 2 (Ann) has label 7 erased",
        "client 2 (Ann) had label 7 erased",
    ),
    ("0+1+4+5+6", "labels=7+2+1"): (
        "labels 7, 2 and 1 of 5 clients",
        "5 clients have labels 7, 2 and 1 erased",
        "5 clients had labels 7, 2 and 1 erased",
    ),
    ("0", "share=0.2"): (
        "20 % of the records of client 0",
        "client 0 has 20 % of its records erased",
        "client 0 had 20 % of its records erased",
    ),
    ("0+1", "share=0.125"): (
        "12.5 % of the records of clients 0 and 1",
        "clients 0 and 1 have 12.5 % of their records erased",
        "clients 0 and 1 had 12.5 % of their records erased",
    ),
    ("3", "planted"): (
        "planted records of client 3 (Bo)",
        "client 3 (Bo) has its planted records erased",
        "client 3 (Bo) had its planted records erased",
    ),
    ("0", "hardest=5"): (
        "some records of client 0 (hardest=5)",
        "client 0 has some of its records erased (hardest=5)",
        "client 0 had some of its records erased (hardest=5)",
    ),
}


@pytest.mark.parametrize(("asked", "told"), TOLD.items(), ids=["-".join(key) for key in TOLD])
def test_a_request_in_words(asked, told):
    words = Wish(*asked, OWNERS)
    assert (words.what, words.leaves, words.left) == told


@pytest.mark.parametrize(
    ("clients", "stays"),
    [("2", "who stays with its other records"), ("0+2", "who stay with their other records")],
)
def test_what_measures_mean_is_said_where_somebody_stays(clients, stays):
    assert Wish(clients).note == ""
    note = Wish(clients, "labels=7").note
    assert stays in note
    assert Wish(clients, "labels=7").what in note


def test_each_request_of_a_summary_is_told_once():
    summary = pd.DataFrame(
        {
            "request": [1, 2, 1, 2],
            "clients": ["0", "0+1", "0", "0+1"],
            "scope": ["share=0.5", "everything"] * 2,
        }
    )
    told = [asked.left for asked in all_wishes(summary)]
    assert told == ["client 0 had 50 % of its records erased", "clients 0 and 1 left"]
    assert then(told) == ", then ".join(told)
    assert all_wishes(summary.drop(columns="scope"))[0].left == "client 0 left"


def test_of_many_requests_the_first_are_told_and_the_others_counted():
    assert then(list("abcd")) == "a, then b, then c, then d"
    assert then(list("abcde")) == "a, then b, then c, then d, then 1 further request"
    assert then(list("abcdefg")).endswith("then 3 further requests")
