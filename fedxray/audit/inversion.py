"""What a curious server reads off one update of a site: the images, where the network has a wide dense layer.

A neuron of a dense layer that follows the features f of an image has the gradient g f of its weights and g of its bias.
So the one divided by the other is f, whatever g is, if one image of the batch alone activates the neuron (Phong et al.
2018, section 3; Boenisch et al. 2023). Where several do, it is a mean of their features.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
import torch
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID
from torch import Tensor, nn
from torch.nn import functional

from fedxray.core.parameters import Parameters
from fedxray.core.seeds import seed_of, stream
from fedxray.experiment.settings import Settings
from fedxray.federation.fixed import decode
from fedxray.federation.rounds import Update, sealed
from fedxray.federation.secure import Identity, Party, digest_of
from fedxray.training.mechanism import Mechanism
from fedxray.training.models import build, get_parameters
from fedxray.training.private import PrivateTrainer
from fedxray.training.rows import Segment
from fedxray.training.trainer import Trainer

KINDS = ("in clear", "masked", "with noise", "as sent")
PARTNERS = ("attacked", "second", "third")  # the sites of the job whose masks are looked at
PLAIN = {"shift": 0.0, "rotate": 0.0, "scale": 0.0, "contrast": 0.0, "flip": False, "class_weights": False}
SMOOTH = 1e-3  # weight of the total variation of a picture that is searched for


class Dense(NamedTuple):
    """The first dense layer of a network: its parameters' names and its inputs, the features."""

    weight: str
    bias: str
    module: nn.Linear


def attacked(model: str, image_size: int, seed: int, settings: Settings) -> Settings:
    """Settings of one step of `model` at its easiest for the attacker: no augmentation, no weights of classes.

    It begins with random weights, whatever `settings` began with.
    """
    plain = replace(settings.without_start, compile=False, device="cpu", **PLAIN)
    return replace(plain, model=model, image_size=image_size, seed=seed)


def first_dense(model: nn.Module) -> Dense:
    """The first dense layer of `model`. Raises ValueError if it has none with a bias."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and module.bias is not None:
            return Dense(f"{name}.weight", f"{name}.bias", module)
    raise ValueError("the network has no dense layer with a bias")


def features_of(model: nn.Module, dense: Dense, images: Tensor) -> Tensor:
    """What reaches the dense layer for each image, float32 (n, features), from images float32 (n, 1, size, size)."""
    seen: list[Tensor] = []
    hook = dense.module.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    try:
        model(images)
    finally:
        hook.remove()
    return seen[0].flatten(1)


def sgd_step(settings: Settings, images: np.ndarray, labels: np.ndarray) -> Parameters:
    """The change of each parameter by one SGD step of the trainer on all of images uint8 (n, size, size)."""
    return _step(replace(settings, optimizer="sgd", momentum=0.0, weight_decay=0.0, lr=0.1), images, labels)


def adamw_step(settings: Settings, images: np.ndarray, labels: np.ndarray) -> Parameters:
    """The same by one AdamW step, as a site of the product sends it, at the learning rate of `settings`."""
    return _step(replace(settings, optimizer="adamw"), images, labels)


def masked(before: Parameters, change: Parameters, images: int, seed: int) -> Parameters:
    """What a server decodes of one site's masked answer, as a change, if it takes off what it knows.

    The answer is made as in a secure aggregation of three sites (`federation.rounds.sealed`, `federation.secure`), but
    the key pairs, and so the masks, are of `seed`.
    """
    after = {name: (value + change[name]).astype(value.dtype) for name, value in before.items()}
    words = sealed(Update(after, images, np.nan, []), len(PARTNERS))
    parties = {site: Party(identity, "audit", PARTNERS) for site, identity in _identities().items()}
    for site, party in parties.items():
        party.secret = X25519PrivateKey.from_private_bytes(stream(seed, "audit", "masks", site).bytes(32))
    attacked_one = parties[PARTNERS[0]]
    attacked_one.meet({site: party.advert() for site, party in parties.items()})
    attacked_one.mask(words, 0, digest_of(before))
    kind = np.dtype(np.float64)
    return {name: decode(name, words[name], images, kind) - value for name, value in before.items()}


def noisy(settings: Settings, images: np.ndarray, labels: np.ndarray, noise: Mechanism) -> Parameters:
    """The sum of the clipped gradients with noise of one private step (`training.private`), as a site makes it.

    Each of images uint8 (n, size, size) is of a patient of its own, and all are drawn. The noise is of the seed.
    """
    part, sure = (images, labels), replace(noise, rate=1.0, secret=False)
    trainer = PrivateTrainer(settings, part, part, np.arange(len(labels)), sure, "audit")
    return {name: tensor.numpy() for name, tensor in trainer.noisy_sum(build(settings), 0).items()}


def ratios(change: Parameters, dense: Dense) -> np.ndarray:
    """The change of each neuron's weights over that of its bias, (neurons, features); neurons without one left out."""
    weight, bias = change[dense.weight], change[dense.bias]
    alive = np.abs(bias) > 1e-7 * np.abs(bias).max()
    return weight[alive] / bias[alive, None]


def matches(read: np.ndarray, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(correlation, row of `read`) of the row that is most like each image's features, (n,) each.

    Takes rows (neurons, features) and features (n, features). The attacker cannot choose so well, not knowing them.
    """
    rows, truth = (_centred(np.asarray(table, np.float32)) for table in (read, features))
    correlation = truth @ rows.T
    best = correlation.argmax(axis=1)
    return correlation[np.arange(len(truth)), best], best


def picture(model: nn.Module, features: np.ndarray, image_size: int, steps: int, seed: int) -> np.ndarray:
    """The image whose features are nearest to `features` (k,), searched for by Adam on its pixels.

    Returns float32 (size, size), standardised as the network's inputs are. The distance is the mean square over that
    of `features`; a little total variation keeps the picture smooth (Mahendran & Vedaldi 2015).
    """
    dense = first_dense(model)
    start = torch.Generator().manual_seed(seed_of(seed, "audit", "picture"))
    pixels = (0.1 * torch.randn(1, 1, image_size, image_size, generator=start)).requires_grad_()
    target = torch.from_numpy(features.astype(np.float32))[None]
    target = target / target.square().mean().sqrt()
    scale = 1 / float(np.sqrt(np.mean(np.square(features, dtype=np.float64))))
    optimizer = torch.optim.Adam([pixels], lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        rough = pixels.diff(dim=2).abs().mean() + pixels.diff(dim=3).abs().mean()
        distance = (scale * features_of(model, dense, pixels) - target).square().mean()
        (distance + SMOOTH * rough).backward()
        optimizer.step()
    return pixels.detach()[0, 0].numpy()


def searched(settings: Settings, change: Parameters, labels: np.ndarray, start: Tensor, steps: int) -> np.ndarray:
    """The image of one SGD step's `change`, searched for by Adam on its pixels from `start` float32 (1, 1, size, size).

    Its gradient is to have the direction of the step's, which is the mean of 1 - cosine over the layers (Geiping et al.
    2020, arXiv:2003.14053), with a little total variation. The attacker knows the label, (1,). Returns float32 (size,
    size), standardised as the network's inputs are.
    """
    model, truth = build(settings), torch.from_numpy(labels)
    weights = dict(model.named_parameters())
    wanted = [torch.from_numpy(-change[name].astype(np.float32)).flatten() for name in weights]
    pixels = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([pixels], lr=0.05)
    for _ in range(steps):
        loss = functional.binary_cross_entropy_with_logits(model(pixels), truth)
        gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        pairs = zip(gradients, wanted, strict=True)
        cosines = torch.stack([functional.cosine_similarity(made.flatten(), want, dim=0) for made, want in pairs])
        rough = pixels.diff(dim=2).abs().mean() + pixels.diff(dim=3).abs().mean()
        optimizer.zero_grad()
        (1 - cosines.mean() + SMOOTH * rough).backward(inputs=[pixels])
        optimizer.step()
    return pixels.detach()[0, 0].numpy()


def update(kind: str, settings: Settings, images: np.ndarray, labels: np.ndarray, noise: Mechanism) -> Parameters:
    """What the server has of one step on all of images uint8 (n, size, size): an update of a kind of `KINDS`."""
    if kind == "with noise":
        return noisy(settings, images, labels, noise)
    if kind == "as sent":
        return adamw_step(settings, images, labels)
    change = sgd_step(settings, images, labels)
    before = get_parameters(build(settings))
    return masked(before, change, len(images), settings.seed) if kind == "masked" else change


def _step(settings: Settings, images: np.ndarray, labels: np.ndarray) -> Parameters:
    model = build(settings)
    before = get_parameters(model)
    trainer = Trainer(replace(settings, batch_size=len(images)), (images, labels), (images, labels))
    trainer.fit(model, [Segment(0, 1, None)], 1)
    after = get_parameters(model)
    return {name: after[name].astype(np.float64) - value for name, value in before.items()}


def _centred(rows: np.ndarray) -> np.ndarray:
    rows = rows - rows.mean(axis=1, keepdims=True)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)


def _identities() -> dict[str, Identity]:
    """A made-up certificate for each of `PARTNERS`, of a made-up root; they decide who may mask, and not the masks."""
    keys = {name: rsa.generate_private_key(public_exponent=65537, key_size=2048) for name in ("root", *PARTNERS)}
    names = {name: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in keys}
    now, day, made = datetime.now(UTC), timedelta(days=1), {}
    for name, key in keys.items():
        builder = x509.CertificateBuilder(names["root"], names[name], key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - day).not_valid_after(now + day)
        made[name] = builder.sign(keys["root"], SHA256())
    pinned = {site: made[site].fingerprint(SHA256()).hex() for site in PARTNERS}
    return {site: Identity(site, keys[site], made[site], made["root"], pinned) for site in PARTNERS}
