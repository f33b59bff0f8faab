"""Which nets and solvers there are, and what each is for: the only thing to edit for a new data set or ablation.

An experiment is a data set, or a data set and a variant: ``ilids``, ``ilids_no_ran``, ``mars_resnet50``; any pair of the
two tables is one. The pose net has experiments of its own.
"""

from dataclasses import dataclass, field, replace

from prototxt.nets import googlenet, inception_bn, pose, resnet50
from prototxt.nets.options import Options, SolverOptions
from stal.errors import InputError


@dataclass(frozen=True)
class Experiment:
    """One training run."""

    name: str
    kind: str          # which module of prototxt/nets/ builds it: stal, qan, pose
    options: Options
    solver: SolverOptions
    deploy: str        # name of its net for deployment, without .prototxt
    serves: str        # the table or figure it is for


@dataclass(frozen=True)
class Variant:
    """What a variant changes in the options of a data set's net."""

    serves: str
    changes: dict = field(default_factory=dict)
    kind: str = "stal"
    deploy: str = ""   # nets that differ in training only share one for deployment


# Identities trained on and iterations: section IV-A and III-E. A snapshot of the full net and its solver state is
# about 1 GB, so they are written every 1000 iterations; on a CPU that is over an hour.
DATASETS = {
    "ilids": (Options(name="stal_ilids", identities=150, data="data/ilids"), SolverOptions(13500, 1000)),
    "prid": (Options(name="stal_prid", identities=89, data="data/prid"), SolverOptions(6500, 1000)),
    "mars": (Options(name="stal_mars", identities=625, data="data/mars"), SolverOptions(150000, 5000)),
    # Small enough to learn from scratch on two cores in minutes. Where it leaves the paper's recipe it does so because
    # that recipe, made for a pretrained net and days of training, does not move the attention at this size.
    "demo": (Options(
        name="stal_demo", identities=400, data="data/demo", backbone=inception_bn.DEMO, height=64, width=32,
        scale=1 / 64,                # inputs of about unit variance
        batch_identities=8, videos=2, frames=4,   # 8 persons x 2 cameras x 4 frames: BatchNorm and triplets see many
        triplets="HARD",             # most triplets of the batch are easy soon; their mean says nothing any more
        feature_norm="L2_UNIT",      # distances of 0 .. 2, the range in which the paper's margins lie
        attention_norm="L2",         # L1 makes the local distance six times smaller than the global one
        consistency_input="AGGREGATED",   # lets the part softmax teach the attention
        stan_channels=(8, 16, 16), stan_pool=(7, 4), stan_batch_norm=True, stan_fc_std=0.001, stan_lr_mult=0.2,
        bn_fraction=0.98,            # the run is short: moving averages over about 50 iterations
        pose_net=pose.DEMO,
    ), SolverOptions(1600, 400, base_lr=0.03, policy=dict(lr_policy="poly", power=1.0), display=20)),
}

# The trunk of the full net, and of the demo's.
BACKBONES = {
    "googlenet": (googlenet.BVLC, googlenet.DEMO),
    "resnet50": (resnet50.HE, resnet50.DEMO),
    "resnet50_torchvision": (resnet50.TORCHVISION, replace(resnet50.DEMO, torchvision=True)),
    "tsn": (inception_bn.TSN, inception_bn.DEMO),
}

_PLAIN = dict(branches=("global",), ran=False)
VARIANTS = {
    "": Variant("Tables III-VII, Fig. 5, 7, 8, 11, 12: STAL; its test-time switches are Baseline, TAN, SAN"),
    "plain": Variant("plain Inception-BN, no attention, no parts: the bottom of every ablation", _PLAIN, deploy="plain"),
    "pgb": Variant("Fig. 6: PGB, pure global branch", dict(branches=("global",)), deploy="global"),
    "plb": Variant("Fig. 6: PLB, pure local branch", dict(branches=("local",)), deploy="local"),
    "no_ran": Variant("Fig. 6: without the residual attention network", dict(ran=False), deploy="no_ran"),
    "ran_4b": Variant("FIDELITY.md: RAN in front of 4c instead of behind it", dict(ran_input="4b"), deploy="ran_4b"),
    "qan": Variant("Tables III-VII: QAN-style baseline, a quality score a frame", dict(ran=False), "qan", deploy="qan"),
    "googlenet": Variant("the text's reading of the trunk: bvlc_googlenet", dict(backbone="googlenet"),
                         deploy="googlenet"),
    "googlenet_plain": Variant("plain bvlc_googlenet", dict(backbone="googlenet", **_PLAIN), deploy="googlenet_plain"),
    "resnet50": Variant("Table V: STAL + ResNet50", dict(backbone="resnet50"), deploy="resnet50"),
    "googlenet_pgb": Variant("bvlc_googlenet's pure global branch", dict(backbone="googlenet", branches=("global",)),
                             deploy="googlenet_global"),
    "resnet50_pgb": Variant("ResNet-50's pure global branch", dict(backbone="resnet50", branches=("global",)),
                            deploy="resnet50_global"),
    "resnet50_plain": Variant("plain ResNet-50", dict(backbone="resnet50", **_PLAIN), deploy="resnet50_plain"),
    "resnet50_torchvision": Variant("ResNet-50 for torchvision's weights and its mean",
                                    dict(backbone="resnet50_torchvision", mean=(103.53, 116.28, 123.675)),
                                    deploy="resnet50_torchvision"),
    "tsn": Variant("Inception-BN for the weights of PyTorch's bninception (TSN) and their mean",
                   dict(backbone="tsn", mean=(104, 117, 128)), deploy="tsn"),
    "pose_argmax": Variant("section III-B: pose net in the graph, arg-max and ROI pooling, as printed",
                           dict(pose="ARG_MAX", pose_lr_mult=0), deploy="pose_argmax"),
    "pose_soft": Variant("section III-B: pose net in the graph, refined through soft-argmax and ROIAlign",
                         dict(pose="SOFT", roi="ROIAlign", pose_lr_mult=0.02), deploy="pose_soft"),
    **{f"embedding_{branch}_{size}": Variant(f"Fig. 9: {branch} embedding {size}", {f"{branch}_embedding": size},
                                             deploy=f"embedding_{branch}_{size}")
       for branch in ("global", "local") for size in (128, 256, 512, 2048)},
    **{f"margin_global_{margin}": Variant(f"Fig. 10: m_g = {margin}", dict(margin_global=margin))
       for margin in (0.4, 0.8, 1.6, 2.0)},
    **{f"margin_local_{margin}": Variant(f"Fig. 10: m_l = {margin}", dict(margin_local=margin))
       for margin in (0.4, 1.2, 1.6, 2.0)},
    "unit_features": Variant("FIDELITY.md: unit features in the distances, as in the prior", dict(feature_norm="L2_UNIT")),
    "norm_l2": Variant("FIDELITY.md: L2 instead of L1 in Eq. 8", dict(attention_norm="L2")),
    "paper_gradient": Variant("FIDELITY.md: the gradient of Eq. 10-13 as printed", dict(gradient="PAPER")),
    "sums": Variant("FIDELITY.md: losses summed as printed", dict(sums=True)),
    "roi_align": Variant("FIDELITY.md: ROIAlign instead of ROI pooling", dict(roi="ROIAlign"), deploy="roi_align"),
}

# SpindleNet published no training net for its pose net. 265,000 iterations is what its weights' name says; the rate and
# the batch are ours, tried on the synthetic set only.
POSE = {
    "pose_mpii": Experiment(
        "pose_mpii", "pose", Options(name="pose_mpii", data="data/mpii", height=256, width=256, aspect=1.0, frames=1,
                                     batch_identities=16, videos=1),
        SolverOptions(265000, 10000, base_lr=0.00002), "deploy_pose_mpii",
        "section III-B: pre-training of the pose net on MPII"),
    "pose_demo": Experiment(
        "pose_demo", "pose", replace(DATASETS["demo"][0], name="pose_demo", frames=1, videos=1, batch_identities=16),
        SolverOptions(2000, 500, base_lr=0.00015, policy=dict(lr_policy="poly", power=1.0)), "deploy_demo_pose",
        "the same for the demo, on the synthetic set's joints"),
}

# What is committed: the paper's nets, one net of each kind, the demo. The others are written on request.
COMMITTED = ("ilids", "prid", "mars", "demo", "ilids_plain", "ilids_pgb", "ilids_plb", "ilids_no_ran", "ilids_qan",
             "ilids_googlenet", "ilids_googlenet_plain", "ilids_googlenet_pgb", "mars_resnet50", "mars_resnet50_plain",
             "mars_resnet50_pgb", "ilids_pose_argmax", "ilids_pose_soft", "demo_pgb", "demo_pose_argmax", "demo_pose_soft",
             *POSE)


def names():
    """Names of all experiments."""
    return [*("_".join(filter(None, (data, variant))) for data in DATASETS for variant in VARIANTS), *POSE]


def experiment(name):
    """The :class:`Experiment` of that name. Raises InputError if there is none."""
    if name in POSE:
        return POSE[name]
    data, _, variant = name.partition("_")
    if data not in DATASETS or variant not in VARIANTS or name.endswith("_"):
        raise InputError(f"there is no experiment {name}: python -m prototxt.generate --list names them")
    options, solver = DATASETS[data]
    chosen = VARIANTS[variant]
    changes = dict(chosen.changes)
    if "backbone" in changes:
        changes["backbone"] = BACKBONES[changes["backbone"]][data == "demo"]
    options = replace(options, **changes, name=f"stal_{name}" if chosen.kind == "stal" else name)
    deploy = "_".join(filter(None, ("deploy", "demo" if data == "demo" else "", chosen.deploy)))
    return Experiment(name, chosen.kind, options, solver, deploy, chosen.serves)


def demo(variant="", data="data/demo", identities=400, seed=1, **changes):
    """The demo's experiment, or a variant of it, for another data folder or seed (of the batches and of the weights)."""
    found = experiment("_".join(filter(None, ("demo", variant))))
    return replace(found, options=replace(found.options, data=data, identities=identities, seed=seed, **changes),
                   solver=replace(found.solver, random_seed=seed))
