"""Everything in which one net differs from another. The defaults are the paper's."""

from dataclasses import dataclass, field

from prototxt.nets.backbone import Backbone
from prototxt.nets.inception_bn import TABLE_1
from prototxt.nets.pose import SPINDLE, PoseNet

PARTS = 6  # R (paper): the boxes of Eq. 7


@dataclass(frozen=True)
class Options:
    """Options of a net.

    Each number's source is behind it: (paper), (prior: the code the paper's recipe comes from), (ours).
    """

    name: str                          # of the net
    identities: int = 0                # K, persons trained on
    data: str = ""                     # folder of the prepared data set, relative to the repository's root
    lists: str = ""                    # folder of its train.csv and joints; "": the same
    backbone: Backbone = TABLE_1
    height: int = 224                  # (paper) frames are resized to 224 x 224
    width: int = 224
    mean: tuple = (104, 117, 123)      # B, G, R (prior)
    scale: float = 1.0                 # values stay 0 .. 255 less the mean (prior)
    frames: int = 8                    # T (paper)
    seed: int = 1                      # of the batches (ours)

    # Batches and losses, Eq. 3-6
    batch_identities: int = 0          # 0: one triplet of videos a batch (paper)
    videos: int = 2                    # of each person, read only with batch_identities
    triplets: str = "ORDERED"          # (paper); ALL where a batch holds several persons
    margin_global: float = 1.2         # m_g (paper)
    margin_local: float = 0.8          # m_l (paper)
    local_weight: float = 0.3          # lambda (paper)
    sums: bool = False                 # losses as printed, summed; False: means (ours)
    consistency_input: str = "FRAMES"  # what Eq. 6 sees (paper)
    feature_norm: str = "UNNORMALIZED"  # the paper is silent; L2_UNIT is the prior's

    # Attention, Eq. 8-13
    attention_norm: str = "L1"         # (paper, by Eq. 12)
    gradient: str = "EXACT"            # the derivative (ours); PAPER: as printed
    stan_channels: tuple = (64, 64, 64)  # of the three convolutions (prior)
    stan_pool: tuple = (7, 7)          # kernel (paper) and stride (prior) of the last pooling
    stan_batch_norm: bool = False      # BatchNorm and ReLU after each convolution (ours); False: neither (prior)
    stan_fc_std: float = 0.01          # (prior)
    stan_lr_mult: float = 1.0

    # Trunk and parts
    branches: tuple = ("global", "local")  # one of them alone: PGB, PLB (paper, section IV-C.2)
    global_embedding: int = 0          # channels of an extra fc_global behind the pooling; 0: none (paper)
    local_embedding: int = 0           # channels of fc_part; 0: the backbone's, 1024 (paper)
    ran: bool = True                   # the residual attention network (paper)
    ran_input: str = ""                # the block it follows; "": the backbone's, 4c (paper, Table I's order)
    roi: str = "ROIPooling"            # (paper); ROIAlign passes a gradient to the boxes
    pooled: int = 8                    # ROI pooling gives pooled x pooled (paper)
    bn_fraction: float = 0.999         # of BatchNorm's moving averages (Caffe's default)

    # Joints
    pose: str = ""                     # "": from the data; ARG_MAX, SOFT: from a pose net in the graph
    pose_net: PoseNet = SPINDLE        # (prior)
    pose_beta: float = 20.0            # of SOFT: maps peak at about 1, so a cell at the peak outweighs 256 at 0 (ours)
    pose_lr_mult: float = 1.0          # of a pose net in the graph 0.02: at the trunk's rate it forgets the joints (ours)
    aspect: float = 0.5                # width / height of the published frames: 1 : 2 in all three sets

    twins: bool = False                # write the Python twins instead of the C++ layers


@dataclass(frozen=True)
class SolverOptions:
    """Options of a solver. Defaults: (paper) SGD, base_lr 0.001, momentum 0.9, weight decay 0.0002, gamma 0.5."""

    max_iter: int
    snapshot: int
    base_lr: float = 0.001
    momentum: float = 0.9
    weight_decay: float = 0.0002
    policy: dict = field(default_factory=dict)  # empty: gamma 0.5 after each third of the run
    display: int = 20
    random_seed: int = 1
