"""Which nets and solvers there are: the only thing to edit for a new data set."""

from dataclasses import replace

from prototxt.nets.backbone import DEMO
from prototxt.nets.options import Options, SolverOptions

# Identities trained on and iterations: section IV-A and III-E. A snapshot of the full net and its solver state is
# about 1 GB, so they are written every 1000 iterations; on a CPU that is over an hour.
PAPER = {
    "ilids": (Options(name="stal_ilids", identities=150, data="data/ilids"), SolverOptions(13500, 1000)),
    "prid": (Options(name="stal_prid", identities=89, data="data/prid"), SolverOptions(6500, 1000)),
    "mars": (Options(name="stal_mars", identities=625, data="data/mars"), SolverOptions(150000, 5000)),
}

# The demo: small enough to learn from scratch on two cores in minutes. Where it leaves the paper's recipe it does so
# because that recipe, made for a pretrained net and days of training, does not move the attention at this size.
DEMO_OPTIONS = Options(
    name="stal_demo", identities=400, data="data/demo", backbone=DEMO, height=64, width=32,
    scale=1 / 64,                # inputs of about unit variance
    batch_identities=8, videos=2, frames=4,   # 8 persons x 2 cameras x 4 frames: BatchNorm and triplets see many persons
    triplets="HARD",             # most triplets of the batch are easy soon; their mean says nothing any more
    feature_norm="L2_UNIT",      # distances of 0 .. 2, the range in which the paper's margins lie
    attention_norm="L2",         # L1 makes the local distance six times smaller than the global one
    consistency_input="AGGREGATED",   # lets the part softmax teach the attention
    stan_channels=(8, 16, 16), stan_pool=(7, 4), stan_batch_norm=True, stan_fc_std=0.001, stan_lr_mult=0.2,
    bn_fraction=0.98)            # the run is short: moving averages over about 50 iterations
DEMO_SOLVER = SolverOptions(1600, 400, base_lr=0.03, policy=dict(lr_policy="poly", power=1.0), display=20)


def demo(data="data/demo", identities=400, seed=1, **changes):
    """The demo's options for another data folder or seed (of the batches and of the weights)."""
    return (replace(DEMO_OPTIONS, data=data, identities=identities, seed=seed, **changes),
            replace(DEMO_SOLVER, random_seed=seed))
