"""The numbers of the networks, which both frameworks read."""
# Name -> (blocks of each stage, their outputs, bottleneck or basic, image size of the paper).
RESNETS = {
    "resnet18": ((2, 2, 2, 2), (64, 128, 256, 512), False, 224),
    "resnet50": ((3, 4, 6, 3), (64, 128, 256, 512), True, 224),
    "resnet20": ((3, 3, 3), (16, 32, 64), False, 32),
    "resnet56": ((9, 9, 9), (16, 32, 64), False, 32),
}
VGG16 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)
# (expansion, outputs, blocks, stride), Sandler et al. 2018, table 2.
MOBILENET_V2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
                (6, 320, 1, 1))
# Name -> (image size, patch size, blocks, width, heads), Dosovitskiy et al. 2020, table 1; one for the digits, and one
# for tests.
VITS = {"vit_b": (224, 16, 12, 768, 12), "vit_digits": (32, 8, 4, 64, 4), "vit_toy": (32, 16, 1, 64, 4)}
IMAGE = {"resnet18": 224, "resnet50": 224, "resnet56": 32, "vgg16_bn": 224, "mobilenet_v2": 224}
# Deployed networks run again and again: a turn is timed once caches and threads are its own, after so many seconds.
WARM = 0.05
CLASSES = {"resnet20": 10, "resnet56": 10, "vit_digits": 10}
