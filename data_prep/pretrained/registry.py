"""The published models as data: where each is, what vouches for it, and which net it fits."""

import textwrap
from dataclasses import dataclass

from stal.errors import InputError


@dataclass(frozen=True)
class Model:
    """One published file."""

    name: str           # what weights.py fetch takes
    net: str            # a key of NETS: the net it fits
    file: str           # its name
    size: str           # as published, in words
    urls: tuple         # tried in this order
    hash: tuple | None  # (kind, value): sha1; sha256, maybe only its first digits; git blob, as git hash-object counts
    licence: str
    source: str         # who published it, and the hash
    note: str = ""      # what has to be known before it is used


# Net -> the experiment of python -m prototxt.generate that has it, for any DATA of its list.
NETS = {"inception_bn": "DATA", "googlenet": "DATA_googlenet", "resnet50": "DATA_resnet50", "pose": "DATA_pose_soft",
        "resnet50_torchvision": "DATA_resnet50_torchvision", "inception_bn_tsn": "DATA_tsn"}

_ZENODO = "https://zenodo.org/record/3463678/files"
_MXNET = "https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/caffe/models"

MODELS = (
    Model("googlenet_bn", "inception_bn", "googlenet_bn_stepsize_6400_iter_1200000.caffemodel", "64 MB",
          ("https://github.com/lim0606/caffe-googlenet-bn/blob/master/snapshots/"
           "googlenet_bn_stepsize_6400_iter_1200000.caffemodel?raw=true",
           f"{_ZENODO}/googlenet_bn_stepsize_6400_iter_1200000.caffemodel"),
          ("git blob", "4b09286a5b1de6631050476368749666cde60c78"),
          "unrestricted use (its README)", "github.com/lim0606/caffe-googlenet-bn"),
    Model("bvlc_googlenet", "googlenet", "bvlc_googlenet.caffemodel", "53.5 MB",
          ("http://dl.caffe.berkeleyvision.org/bvlc_googlenet.caffemodel",
           f"{_MXNET}/bvlc_googlenet/bvlc_googlenet.caffemodel",
           "https://www.deepdetect.com/downloads/platform/pretrained/caffe/googlenet/bvlc_googlenet.caffemodel",
           f"{_ZENODO}/googlenet_bvlc.caffemodel"),
          ("sha1", "405fc5acd08a3bb12de8ee5e23a96bec22f08204"),
          "unrestricted use (its readme)", "BVLC Caffe, models/bvlc_googlenet"),
    Model("resnet50", "resnet50", "ResNet-50-model.caffemodel", "97.7 MiB",
          (f"{_MXNET}/resnet/ResNet-50-model.caffemodel", "https://deepdetect.com/models/resnet/ResNet-50-model.caffemodel",
           f"{_ZENODO}/ResNet-50-model.caffemodel"),
          ("sha1", "b7c79ccc21ad0479cddc0dd78b1d20c4d722908d"),
          "MIT (its repository)", "github.com/KaimingHe/deep-residual-networks; the sha1 is MXNet's and OpenCV's"),
    Model("pose", "pose", "pose_iter_265000.caffemodel", "11.9 MB",
          ("https://github.com/yokattame/SpindleNet/raw/102b6defb1b0e309a361a62817044424bcfad6bb/RPN/model/"
           "pose_iter_265000.caffemodel",),
          ("git blob", "9bcb6dfb2f49c1534c2f5508b35d7143b3ffda14"),
          "not stated", "github.com/yokattame/SpindleNet"),
    Model("torchvision_resnet50", "resnet50_torchvision", "resnet50-0676ba61.pth", "97.8 MiB",
          ("https://download.pytorch.org/models/resnet50-0676ba61.pth",),
          ("sha256", "0676ba61"),
          "not stated for the weights; the code is BSD 3-clause", "torchvision, ResNet50_Weights.IMAGENET1K_V1",
          "A PyTorch file: dump it to .npz, then convert --from torchvision-resnet50."),
    Model("tsn_bn_inception_pytorch", "inception_bn_tsn", "bn_inception-9f5701afb96c8044.pth", "size not stated",
          ("https://yjxiong.blob.core.windows.net/models/bn_inception-9f5701afb96c8044.pth",
           "http://yjxiong.me/others/bn_inception-9f5701afb96c8044.pth"),
          ("sha256", "9f5701afb96c8044"),
          "not stated", "github.com/yjxiong/tensorflow-model-zoo.torch",
          "A PyTorch file: dump it to .npz, then convert --from pytorch-bninception."),
    Model("tsn_bn_inception", "inception_bn_tsn", "bn_inception_rgb_init.caffemodel", "size not stated",
          ("https://yjxiong.blob.core.windows.net/tsn-init/bn_inception_rgb_init.caffemodel",
           "http://mmlab.siat.ac.cn/tsn_model/bn_inception_spatial_var_init.caffemodel"),
          None,
          "not stated for the weights; the code is BSD 2-clause", "github.com/yjxiong/temporal-segment-networks",
          "Its BN layers are those of its authors' own Caffe, which no net here has: take tsn_bn_inception_pytorch."),
)


def find(name):
    """The model of that name. Raises InputError."""
    for model in MODELS:
        if model.name == name:
            return model
    raise InputError(f"there is no published model {name}: take one of {', '.join(model.name for model in MODELS)}")


def hash_text(model):
    """Kind and value of the published hash, in words."""
    if not model.hash:
        return "none published"
    kind, value = model.hash
    return f"{kind} {'begins with ' if kind == 'sha256' and len(value) < 64 else ''}{value}"


def net_text(net):
    """A net and its experiment, in words."""
    return f"{net} (python -m prototxt.generate --only {NETS[net]})"


def plain():
    """All models as text for a terminal."""
    blocks = []
    for model in MODELS:
        lines = [f"{model.file}, {model.size}", f"net: {net_text(model.net)}", f"hash: {hash_text(model)}",
                 f"licence: {model.licence}", f"source: {model.source}", *model.urls, *([model.note] if model.note else [])]
        blocks.append(model.name + "\n" + textwrap.indent("\n".join(lines), "    "))
    return "\n\n".join(blocks)


def markdown():
    """All models as the table of data_prep/README.md."""
    lines = ["| name | net, experiment | file | hash | licence | source |", "|---|---|---|---|---|---|"]
    for model in MODELS:
        files = ", ".join(f"[{number}]({url})" for number, url in enumerate(model.urls, start=1))
        source = f"{model.source}. {model.note}" if model.note else model.source
        lines.append(f"| `{model.name}` | {model.net}, `{NETS[model.net]}` | {model.file}, {model.size}: {files} | "
                     f"{hash_text(model)} | {model.licence} | {source} |")
    return "\n".join(lines)
