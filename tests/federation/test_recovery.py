"""Secure aggregation that survives absent sites: sums of those who answered, and what a site refuses a server."""

import secrets
from contextlib import nullcontext
from itertools import combinations, permutations

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from helpers.secure import Authority, identities

from fedxray.core.errors import UserError
from fedxray.experiment.method import quorum
from fedxray.federation.fixed import add, decode, encode
from fedxray.federation.recovery import PRIME, STEPS, Member, join, scope_of, split, unmask
from fedxray.federation.secure import Party, blend

NAMES = [f"site{number}" for number in range(10)]
JOB = "a" * 64 + "/1"
SENT = "b" * 64


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture(scope="module")
def known(authority):
    """{site: its identity}, of ten sites that know one another."""
    return identities(authority, NAMES)


def updates(sites, size=50):
    rng = np.random.default_rng(0)
    weights = {site: {"w": rng.normal(scale=0.05, size=size).astype(np.float32)} for site in sites}
    return {site: encode(weights[site], 3 + number, len(sites)) for number, site in enumerate(sites)}


def copied(words):
    return {name: array.copy() for name, array in words.items()}


def summed(answers):
    first, *others = answers
    sums = copied(first)
    for other in others:
        add(sums, other)
    return sums


def members(known, sites, number=3, job=JOB):
    return {site: Member(known[site], job, number, sites) for site in sites}


class Round:
    """A round as a server drives it, in which some sites answer no longer from a step on, {step: sites}."""

    def __init__(self, known, sites, gone=None, size=50, until="reveal", number=3):
        self.members, self.sites, self.gone = members(known, sites, number), sites, gone or {}
        self.plain, self.there, self.number = updates(sites, size), list(sites), number
        self.answers = {}
        for step in STEPS[: STEPS.index(until) + 1]:
            self.there = [site for site in self.there if site not in self.gone.get(step, ())]
            getattr(self, step)()

    def advert(self):
        self.adverts = {site: self.members[site].advert() for site in self.there}

    def share(self):
        self.shared = {site: self.members[site].share(self.adverts) for site in self.there}

    def receive(self):
        for site in self.there:
            self.members[site].receive(self.shared)

    def mask(self):
        for site in self.there:
            self.answers[site] = copied(self.plain[site])
            self.members[site].mask(self.answers[site], SENT)
        self.survivors = list(self.there)

    def vouch(self):
        self.signatures = {site: self.members[site].vouch(self.survivors) for site in self.there}

    def reveal(self):
        self.revealed = {site: self.members[site].reveal(self.signatures) for site in self.there}

    def sums(self, order=None):
        sums = summed(self.answers[site] for site in order or self.survivors)
        scope = scope_of(JOB, self.number)
        unmask(sums, scope, SENT, self.sites, self.adverts, self.survivors, self.revealed)
        return sums


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def test_the_prime_is_the_smallest_above_all_secrets():
    def passes(number):  # Miller and Rabin
        odd, twos = number - 1, 0
        while odd % 2 == 0:
            odd, twos = odd // 2, twos + 1
        return all(
            power == 1 or number - 1 in [pow(power, 2**square, number) for square in range(twos)]
            for power in (pow(base, odd, number) for base in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37))
        )

    assert [number for number in range(2**256, PRIME + 1) if passes(number)] == [PRIME]


def test_a_quorum_of_shares_gives_a_secret_and_fewer_do_not(monkeypatch):
    secret = bytes([255] * 32)
    for sites in (3, 4, 6, 10):
        least = quorum(sites)
        shares = {number: int.from_bytes(share) for number, share in enumerate(split(secret, least, sites), 1)}
        for few in combinations(shares, least):
            assert join({number: shares[number] for number in few}) == secret
        for few in combinations(shares, least - 1):
            one = {number: shares[number] for number in few}
            other = split(bytes(32), least, sites)
            assert join_of_any(one) not in (int.from_bytes(secret), 0)
            assert not {share.to_bytes(33) for share in one.values()} & set(other)
    drawn = [2**200 + 7, 2**255, 5]
    monkeypatch.setattr(secrets, "randbelow", lambda below: drawn.pop() if below == PRIME else None)
    values = [int.from_bytes(share) for share in split((41).to_bytes(32), 4, 5)]
    assert values == [(5 * x**3 + 2**255 * x**2 + (2**200 + 7) * x + 41) % PRIME for x in range(1, 6)]


def join_of_any(shares):
    try:
        return int.from_bytes(join(shares))
    except OverflowError:  # above all secrets
        return -1


@pytest.mark.parametrize("sites", [3, 4, 5, 6, 9, 10])
def test_quorums_of_the_same_sites_meet_in_more_than_a_third(sites):
    assert quorum(sites) > 2 * sites / 3 >= quorum(sites) - 1
    assert 2 * quorum(sites) - sites > sites / 3


@pytest.mark.parametrize("sites", [3, 4, 5, 6])
def test_the_sum_of_those_who_answer_is_exact_whoever_is_absent(known, sites):
    names = NAMES[:sites]
    for absent in range(sites - quorum(sites) + 1):
        for gone in combinations(names, absent):
            there = [site for site in names if site not in gone]
            for step in ("share", "mask"):
                made = Round(known, names, {step: gone})
                assert made.survivors == there
                assert same(made.sums(), summed(made.plain[site] for site in there))


def test_sites_are_lost_in_each_step_and_orders_do_not_matter(known):
    gone = {"advert": ["site0"], "receive": ["site4"], "mask": ["site9"]}
    made = Round(known, NAMES, gone)
    there = [site for site in NAMES if site not in ("site0", "site4", "site9")]
    plain = summed(made.plain[site] for site in there)
    for order in list(permutations(there))[::1009]:
        assert same(made.sums(order), plain)
    late = Round(known, NAMES, {"vouch": ["site1"], "reveal": ["site2", "site7"]})
    assert late.survivors == NAMES  # whose answers the server has
    assert same(late.sums(), summed(late.plain.values()))


def correlation(words, truth):
    values = [decode("w", part["w"], 1, np.dtype(float)) for part in (words, truth)]
    return abs(np.corrcoef(*values)[0, 1])


def test_no_answer_is_seen_before_or_after_the_masks_of_an_absent_site_are_known(known):
    names, size = NAMES[:4], 20_000
    made = Round(known, names, {"vouch": ["site2"]}, size)
    made.survivors = [site for site in names if site != "site2"]  # its answer came too late
    for site in made.survivors:
        assert correlation(made.answers[site], made.plain[site]) < 0.03  # 4 / sqrt(20,000)
    made = Round(known, names, {"mask": ["site2"]}, size)
    late = copied(made.plain["site2"])
    made.members["site2"].mask(late, SENT)
    numbered = {names.index(by) + 1: int(made.revealed[by]["site2"], 16) for by in made.survivors}
    key = X25519PrivateKey.from_private_bytes(join(numbered))
    for other in made.survivors:  # the server takes off all masks that it knows now
        secret = key.exchange(X25519PublicKey.from_public_bytes(bytes.fromhex(made.adverts[other].public)[:32]))
        blend(late, secret, [*scope_of(JOB, 3), SENT, sorted(["site2", other])], adds=other < "site2")
    assert correlation(late, made.plain["site2"]) < 0.03
    blend(late, made.members["site2"].seed, [*scope_of(JOB, 3), SENT, ["site2"]], adds=False)
    assert same(late, made.plain["site2"])  # so it was the mask of its own alone that hid it
    with pytest.raises(UserError, match="the step vouch of round 4 came twice, or out of turn"):
        made.members["site0"].vouch(names)  # and this site's shares of its seed stay there
    shown = [share for shares in made.revealed.values() for share in shares.values()]
    seeds = [member.held["site2"][1].hex() for member in made.members.values()]
    assert not set(shown) & set(seeds)


def test_of_each_site_one_kind_of_share_is_given(known):
    made = Round(known, NAMES[:4], {"mask": ["site3"]})
    for by in made.survivors:
        held = made.members[by].held
        assert sorted(made.revealed[by]) == NAMES[:4]
        for site in NAMES[:4]:
            assert made.revealed[by][site] == held[site][site != "site3"].hex()


def test_each_step_is_done_once_in_its_turn_and_none_after_a_refusal(known):
    names = NAMES[:4]
    made = Round(known, names)
    again = {
        "advert": (),
        "share": (made.adverts,),
        "receive": (made.shared,),
        "mask": (copied(made.plain["site0"]), SENT),
        "vouch": (made.survivors[:3],),
        "reveal": (made.signatures,),
    }
    for step, given in again.items():
        with pytest.raises(UserError, match=rf"^secure aggregation: the step {step} of round 4 came twice, or out of"):
            getattr(made.members["site0"], step)(*given)
        with (
            pytest.raises(UserError, match=f"the step {step} of round 4 came twice")
            if step != "advert"
            else nullcontext()
        ):
            getattr(Member(known["site0"], JOB, 3, names), step)(*given)
    made = Round(known, names, until="mask")
    with pytest.raises(UserError, match="site0, site1 have answered"):
        made.members["site0"].vouch(["site0", "site1"])
    with pytest.raises(UserError, match="the step vouch of round 4 came twice"):
        made.members["site0"].vouch(names)


def test_keys_that_are_not_a_partners_for_this_round_are_refused(authority, known):
    names = NAMES[:4]
    impostor = identities(Authority(), names)
    minted = identities(authority, names, site0=(known["site0"].key, known["site0"].certificate))
    adverts = {site: member.advert() for site, member in members(known, names).items()}
    another = members(known, names)["site1"].advert()
    cases = {
        "root has not signed": Member(impostor["site1"], JOB, 3, names).advert(),
        "another certificate than local/partners.json": Member(minted["site1"], JOB, 3, names).advert(),
        "is that of site2": adverts["site2"],  # a swapped partner
        "is that of site3": adverts["site3"]._replace(site="site1"),
        "not signed for this round and these partners": Member(known["site1"], JOB, 2, names).advert(),
        "not signed for this round": Member(known["site1"], "b" * 64, 3, names).advert(),
        "not signed for this": Member(known["site1"], JOB, 3, NAMES[:5]).advert(),
        "not signed for": adverts["site1"]._replace(public=another.public),
        "not signed": adverts["site1"]._replace(signature="xyz"),
        "is no key": Party(known["site1"], JOB, names).advert(),  # of the protocol without recovery
    }
    for said, wrong in cases.items():
        one = Member(known["site0"], JOB, 3, names)
        sent = adverts | {"site0": one.advert(), "site1": wrong}
        with pytest.raises(UserError, match=rf"^secure aggregation: the key of site1 .*{said}.*; nothing was sent$"):
            one.share(sent)
    one = Member(known["site0"], JOB, 3, names)
    one.advert()
    with pytest.raises(UserError, match="another key in place of this site's"):
        one.share(adverts)


@pytest.mark.parametrize(
    ("sites", "said"),
    [
        (NAMES[:2], "site0, site1 have keys; at least 3 of site0, site1, site2, site3 must, this site among them"),
        (NAMES[1:4], "site1, site2, site3 have keys; at least 3"),
        ([*NAMES[:3], "site9"], "site0, site1, site2, site9 have keys"),
        ([], "nobody have keys"),
    ],
)
def test_a_round_of_too_few_or_of_others_is_refused(known, sites, said):
    one = Member(known["site0"], JOB, 3, NAMES[:4])
    advert = one.advert()
    with pytest.raises(UserError, match=said):
        one.share(dict.fromkeys(sites, advert))


def test_shares_for_another_site_or_round_are_refused(known):
    names = NAMES[:4]
    before, other = Round(known, names, until="share", number=2), Round(known, names, until="share")

    def refused(shared, said="the shares of site1 are not for this site and round; nothing was sent"):
        made = Round(known, names, until="share")
        with pytest.raises(UserError, match=said):
            made.members["site0"].receive(shared(made.shared))

    refused(lambda shared: shared | {"site1": before.shared["site1"]})
    refused(lambda shared: shared | {"site1": other.shared["site1"]})
    refused(lambda shared: shared | {"site1": shared["site2"]})
    refused(lambda shared: shared | {"site1": shared["site1"] | {"site0": shared["site1"]["site2"]}})
    refused(lambda shared: shared | {"site1": shared["site1"] | {"site0": "zz"}})
    refused(lambda shared: shared | {"site1": {}})
    refused(lambda shared: dict(list(shared.items())[:2]), "site0, site1 have shared their secrets; at least 3")
    refused(lambda shared: {site: shared[site] for site in names[1:]}, "site1, site2, site3 have shared")
    refused(lambda shared: shared | {"site7": shared["site1"]}, "site7 have shared")


@pytest.mark.parametrize(
    ("survivors", "said"),
    [
        (NAMES[:3], "site0, site1, site2 have answered; at least 4 of site0, site1, site2, site3, site4"),
        (NAMES[1:5], "have answered; at least 4"),
        (NAMES[:6], "site5 have answered"),
        ([*NAMES[:3], "site0"], "site0, site0, site1, site2 have answered"),
    ],
)
def test_a_list_of_survivors_is_a_quorum_of_those_whom_the_site_has_masked_with(known, survivors, said):
    made = Round(known, NAMES[:5], until="mask")
    with pytest.raises(UserError, match=said):
        made.members["site0"].vouch(survivors)


def test_shares_are_given_for_a_list_that_a_quorum_has_signed(known):
    names = NAMES[:5]

    def refused(change, said):
        made = Round(known, names, until="vouch")
        with pytest.raises(UserError, match=said):
            made.members["site0"].reveal(change(made.signatures))

    refused(lambda signed: dict(list(signed.items())[:3]), "have signed who has answered; at least 4")
    refused(lambda signed: {site: signed[site] for site in names[1:]}, "this site among them")
    refused(lambda signed: signed | {"site2": signed["site1"]}, "site2 has not signed that site0, .* have answered")
    refused(lambda signed: signed | {"site2": "nonsense"}, "site2 has not signed")
    refused(lambda signed: signed | {"site2": None}, "site2 has not signed")
    refused(
        lambda signed: Round(known, names, until="vouch", number=2).signatures | {"site0": signed["site0"]}, "site1"
    )
    refused(lambda signed: signed | {"site9": signed["site1"]}, "site9 have signed")


def test_a_server_that_tells_sites_different_things_gets_no_shares(known):
    names = NAMES[:5]
    made, fewer = Round(known, names, until="mask"), [site for site in names if site != "site2"]
    signatures = {site: made.members[site].vouch(names if site < "site3" else fewer) for site in names}
    for site, given in (("site0", signatures), ("site3", {site: signatures[site] for site in fewer})):
        with pytest.raises(UserError, match=r"site\d has not signed that .* so the server may have told it others"):
            made.members[site].reveal(given)
    made = Round(known, names, until="advert")  # and one that hides the keys of a site from another site
    seen = {site: dict(list(made.adverts.items())[: 4 if site == "site0" else 5]) for site in names[:4]}
    shared = {site: made.members[site].share(seen[site]) for site in names[:4]}
    for site in names[:4]:
        made.members[site].receive(shared)
        made.members[site].mask(copied(made.plain[site]), SENT)
    signatures = {site: made.members[site].vouch(names[:4]) for site in names[:4]}
    for site, other in (("site0", "site1"), ("site1", "site0")):
        with pytest.raises(UserError, match=f"{other} has not signed"):
            made.members[site].reveal(signatures)


def test_shares_that_do_not_fit_are_told(known):
    made = Round(known, NAMES[:4], {"mask": ["site3"]})
    good = made.revealed
    for changed, said in (
        ({"site0": good["site0"] | {"site3": good["site1"]["site3"]}}, "the shares of the secret of site3 do not fit"),
        ({"site0": good["site0"] | {"site3": "xyz"}}, "of site3 do not fit"),
        ({"site1": {name: share for name, share in good["site1"].items() if name != "site2"}}, "of site2 do not fit"),
    ):
        made.revealed = good | changed
        with pytest.raises(UserError, match=said):
            made.sums()
    made.revealed = {site: good[site] for site in ("site0", "site1")}
    with pytest.raises(UserError, match="shares of 2 sites, and 3 are needed"):
        made.sums()
