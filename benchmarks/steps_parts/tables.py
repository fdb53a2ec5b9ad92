"""What benchmarks/steps.py measures."""
# Network -> (samples of a batch, height and width).
NETWORKS = {"resnet20": (64, 32), "resnet56": (64, 32), "resnet50": (16, 96), "vgg16_bn": (16, 64)}
DEFAULT = ("resnet20", "resnet50", "vgg16_bn")
# The two ways of mixing in a knockoff phase: the default's, and the paper's.
MIXINGS = {"knockoff": "blocks", "knockoff, joint": "joint"}
OURS = ("plain", *MIXINGS, "masked", "slim", "twin")
THEIRS = ("plain", "knockoff", "masked")
