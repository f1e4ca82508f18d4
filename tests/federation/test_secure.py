"""Secure aggregation: masks that are gone in the sum of all alone, and whom a site refuses to answer."""

from itertools import combinations

import numpy as np
import pytest
from helpers.secure import Authority, identities

from fedxray.core.errors import UserError
from fedxray.federation.fixed import add, decode, encode
from fedxray.federation.secure import Party, adverts_of, digest_of, fingerprints_of

SITES = ["us", "europe", "asia"]
JOB = "a" * 64
IMAGES = {"us": 24, "europe": 40, "asia": 10}
SENT_TO_ALL = np.zeros(3, np.float32)
SENT = digest_of({"w": SENT_TO_ALL})


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture(scope="module")
def known(authority):
    """{site: its identity}, of sites that know one another, and of a fourth."""
    return identities(authority, [*SITES, "africa"])


def parties(known, job=JOB, sites=SITES):
    return {site: Party(known[site], job, sites) for site in sites}


def met(known, job=JOB, sites=SITES):
    made = parties(known, job, sites)
    adverts = {site: party.advert() for site, party in made.items()}
    for party in made.values():
        party.meet(adverts)
    return made


def updates(size=20_000):
    rng = np.random.default_rng(0)
    return {site: {"w": rng.normal(scale=0.05, size=size).astype(np.float32)} for site in SITES}


def summed(answers):
    first, *others = (dict(answer) for answer in answers)
    sums = {name: words.copy() for name, words in first.items()}
    for other in others:
        add(sums, other)
    return sums


@pytest.mark.parametrize("order", [SITES, SITES[::-1], ["europe", "us", "asia"]])
def test_the_sum_of_masked_answers_is_the_sum_and_no_part_of_it_is(known, order):
    made, given = met(known), updates()
    plain = {site: encode(given[site], IMAGES[site], 3) for site in SITES}
    masked = {site: {name: words.copy() for name, words in plain[site].items()} for site in SITES}
    for site in SITES:
        made[site].mask(masked[site], 0, SENT)
    total = summed(masked[site] for site in order)["w"]
    assert np.array_equal(total, summed(plain.values())["w"])

    def correlation(words, sites):
        truth = sum(given[site]["w"].astype(float) * IMAGES[site] for site in sites)
        return abs(np.corrcoef(decode("w", words["w"], 1, np.dtype(float)), truth)[0, 1])

    for few in (*combinations(SITES, 1), *combinations(SITES, 2)):
        assert correlation(summed(plain[site] for site in few), few) > 0.9999
        assert correlation(summed(masked[site] for site in few), few) < 0.03  # 4 / sqrt(20,000)
    for site in SITES:
        for word in masked[site]["w"]:
            assert np.abs(np.bincount(word >> np.uint64(56), minlength=256) - 20_000 / 256).max() < 60
            assert np.abs(np.bincount(word & np.uint64(255), minlength=256) - 20_000 / 256).max() < 60


def test_each_round_and_each_job_has_masks_of_its_own(known):
    zero = encode({"w": np.zeros(1000, np.float32)}, 1, 3)
    made, masks = met(known), []
    for party, number in ((made["us"], 0), (made["us"], 1), (met(known)["us"], 0), (met(known, "b" * 64)["us"], 0)):
        masks.append({"w": zero["w"].copy()})
        party.mask(masks[-1], number, SENT)
    for one, other in combinations(masks, 2):
        assert not (one["w"] == other["w"]).any()
    mixed = [{"w": zero["w"].copy()} for _ in SITES]  # of two rounds: nothing cancels
    for number, site in enumerate(SITES):
        made[site].mask(mixed[number], 2 + number, SENT)
    assert (summed(mixed)["w"] != 0).mean() > 0.99


@pytest.mark.parametrize("other", [np.array([0, 0, 1e-45], np.float32), np.zeros((3, 1), np.float32), np.zeros(3)])
def test_masks_do_not_cancel_out_if_a_site_was_sent_another_model(known, other):
    """Else a server could send all but one site a model at which they answer nothing."""
    for sent, cancels in (({"w": SENT_TO_ALL}, True), ({"w": other}, False), ({"v": SENT_TO_ALL}, False)):
        made, plain = met(known), {site: encode(update, IMAGES[site], 3) for site, update in updates(1000).items()}
        masked = {site: {"w": plain[site]["w"].copy()} for site in SITES}
        for site in SITES:
            made[site].mask(masked[site], 0, digest_of(sent) if site == "asia" else SENT)
        same = summed(masked.values())["w"] == summed(plain.values())["w"]
        assert same.all() if cancels else same.mean() < 0.01


def test_a_round_is_answered_once(known):
    made = met(known)
    made["us"].mask(encode({"w": np.ones(3, np.float32)}, 1, 3), 4, SENT)
    for number in (4, 3):
        with pytest.raises(UserError, match=rf"round {number + 1} was answered already in this job"):
            made["us"].mask(encode({"w": np.ones(3, np.float32)}, 1, 3), number, SENT)
    with pytest.raises(UserError, match="no keys, because this process is not the job's first"):
        Party(known["us"], JOB, SITES).mask(encode({"w": np.ones(3, np.float32)}, 1, 3), 0, SENT)


@pytest.mark.parametrize(
    ("sites", "said"),
    [
        (["us", "europe"], r"names 2 partners \(europe, us\)"),
        (["us", "us", "us"], "names 1 partners"),
        (["europe", "asia", "africa"], "itself among them"),
        ([*SITES, "mars"], r"mars is no partner that this site knows.*local/partners\.json"),
    ],
)
def test_a_site_takes_part_with_enough_partners_that_it_knows(known, sites, said):
    with pytest.raises(UserError, match=said):
        Party(known["us"], JOB, sites)


def test_keys_that_are_not_a_partners_for_this_job_are_refused_in_one_line(authority, known):
    forged = Authority()
    impostor = identities(forged, [*SITES, "africa"])
    minted = identities(authority, SITES, us=(known["us"].key, known["us"].certificate))  # the root's key, but no pin
    ended = identities(authority, SITES, asia=authority.issue("asia", days=-1))

    def advert(who, site, job=JOB, sites=SITES):
        return Party(who[site], job, sites).advert()

    of_asia = advert(known, "asia")
    cases = {
        "a certificate that this federation's root has not signed": advert(impostor, "asia"),
        "another certificate than local/partners.json": advert(minted, "asia"),
        "is that of europe": advert(known, "europe")._replace(site="asia"),
        "of europe": advert(known, "europe"),
        "not signed for this job and these partners": advert(known, "asia", job="b" * 64),  # a replay
        "signed for this job and these": advert(known, "asia", sites=[*SITES, "africa"]),
        "is not signed": of_asia._replace(public=advert(known, "asia").public),
        "not signed for": of_asia._replace(signature=advert(known, "europe").signature),
        "is no key with a certificate": of_asia._replace(certificate="nonsense"),
        "signed for": of_asia._replace(signature="xyz"),
        "is no key": of_asia._replace(public=of_asia.public * 2),
    }
    for said, wrong in cases.items():
        party = Party(known["us"], JOB, SITES)
        with pytest.raises(UserError, match=rf"^secure aggregation: the key of asia .*{said}.*; nothing was sent$"):
            party.meet({"us": party.advert(), "europe": advert(known, "europe"), "asia": wrong})
        assert not party.shared
    party = Party(ended["us"], JOB, SITES)
    with pytest.raises(UserError, match="the key of asia has a certificate that has ended"):
        party.meet({site: party.advert() if site == "us" else advert(ended, site) for site in SITES})


def test_the_set_is_whole_and_stays_what_it_was(known):
    party = Party(known["us"], JOB, SITES)
    adverts = {site: Party(known[site], JOB, SITES).advert() for site in SITES} | {"us": party.advert()}
    for missing in ("asia", "us"):
        with pytest.raises(UserError, match=r"keys of .*, but the partners are asia, europe, us"):
            party.meet({site: advert for site, advert in adverts.items() if site != missing})
    with pytest.raises(UserError, match="put another key in place of this site's"):
        party.meet(adverts | {"us": Party(known["us"], JOB, SITES).advert()})
    party.meet(adverts)
    party.meet(dict(adverts))
    with pytest.raises(UserError, match="changed a partner's key within the job"):
        party.meet(adverts | {"asia": Party(known["asia"], JOB, SITES).advert()})


def test_adverts_travel_as_words(known):
    adverts = {site: party.advert() for site, party in parties(known).items()}
    assert adverts_of({site: advert._asdict() for site, advert in adverts.items()}) == adverts
    assert fingerprints_of(adverts) == {site: known["us"].pinned[site] for site in sorted(SITES)}
    for sent in (None, {"us": None}, {"us": {"site": "us"}}):
        with pytest.raises(UserError, match="the server has sent no keys"):
            adverts_of(sent)
