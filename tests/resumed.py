"""
Work that is killed and goes on, as a program.   python -m tests.resumed KIND FOLDER [MOMENT]

At the moment of this number it kills itself. Moments are counted: before and after each step of a training, and before
and after each file is put in its place. Run again, it goes on; what comes out in the end is FOLDER/result.npz.
"""
import os
import signal
import sys

os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
os.environ.setdefault("GLOG_v", "4")

import mindspore as ms  # noqa: E402
import numpy as np  # noqa: E402
from mindspore import Tensor, nn  # noqa: E402

import golden_stick as gs  # noqa: E402
from golden_stick.scop import FeatureSampler, GaussianSampler  # noqa: E402
from tests.networks import SmallNet, randomize  # noqa: E402

INPUTS, BATCH, EPOCHS = (2, 3, 8, 8), 4, 4
LEFT = [0]  # moments until the end


def end():
    os.kill(os.getpid(), signal.SIGKILL)


def moment():
    LEFT[0] -= 1
    if LEFT[0] == 0:
        end()


def put_in_place(source, target, replace=os.replace):
    moment()
    replace(source, target)
    moment()


def images(count=24, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 4, count).astype(np.int32)
    return (generator.normal(size=(count, 3, 8, 8)) + 0.3 * labels[:, None, None, None]).astype(np.float32), labels


def values(network):
    return {parameter.name: parameter.asnumpy() for parameter in network.get_parameters()}


class Moments(ms.train.Callback):
    def on_train_step_begin(self, run_context):
        moment()

    def on_train_step_end(self, run_context):
        moment()


def phase(folder, network, sampler="permutation"):
    """A knockoff phase by Model.train, in graph mode; the data are shuffled anew in each epoch."""
    path = os.path.join(folder, "phase.ckpt")
    algorithm = gs.SCOP({"prune_rate": 0.4, "turn_steps": 3, "sampler": sampler})
    trained = algorithm.apply(network, INPUTS)
    optimizer = nn.Adam(trained.trainable_params(), nn.cosine_decay_lr(0.01, 0.1, 6 * EPOCHS, 6, EPOCHS))
    ms.dataset.config.set_seed(3)
    data = ms.dataset.NumpySlicesDataset(images(), shuffle=True).batch(BATCH)
    step = gs.load_state(path, trained, optimizer)
    data.set_init_step(step)
    if step < EPOCHS * data.get_dataset_size():
        ms.Model(trained, algorithm.loss(nn.CrossEntropyLoss()), optimizer).train(
            EPOCHS, data, callbacks=[Moments(), *algorithm.callbacks(checkpoint=path, every=5)],
            initial_epoch=step // data.get_dataset_size(), dataset_sink_mode=False)
    return {**values(trained), **{f"slim.{name}": array for name, array in values(algorithm.convert(trained)).items()}}


def gaussian(folder, network):
    """The same, with knockoffs of images that are drawn."""
    return phase(folder, network, GaussianSampler(grid=2).fit([images(200, 5)[0]]))


def loop(folder, network):
    """A loop of one's own in PyNative mode, with knockoffs of features, and gradients summed up over two passes."""
    path = os.path.join(folder, "loop.safetensors")
    ms.set_context(mode=ms.PYNATIVE_MODE)
    algorithm = gs.SCOP({"prune_rate": 0.4, "turn_steps": 3, "sampler": FeatureSampler([images()[0]])})
    trained, loss = algorithm.apply(network, INPUTS).set_train(), nn.CrossEntropyLoss()
    optimizer = nn.Momentum(trained.trainable_params(), 0.05, 0.9)

    def forward(x, y):
        return loss(trained(x), y)

    gradients, known = ms.value_and_grad(forward, None, optimizer.parameters), gs.load_state(path, trained, optimizer)
    whole, labels = images()
    for step in range(known, 16):
        moment()
        parts = [np.random.default_rng((step, part)).permutation(24)[:BATCH] for part in range(2)]
        one, two = (gradients(Tensor(whole[part]), Tensor(labels[part]))[1] for part in parts)
        optimizer(tuple((first + second) / 2 for first, second in zip(one, two)))
        algorithm.after_step()
        moment()
        if (step + 1) % 3 == 0:
            gs.save_state(path, trained, optimizer, step + 1)
    return {**values(trained), **{f"slim.{name}": array for name, array in values(algorithm.convert(trained)).items()}}


def steps(folder, network):
    """Pruning in steps, with training between by an optimizer that goes on."""
    whole, labels = images()

    def state(number):
        return os.path.join(folder, f"optimizer_{number}.ckpt")

    def train(slim, number, step):
        optimizer = nn.Momentum(step.network.trainable_params(), 0.01, 0.9)
        gs.load_state(state(number - 1), step.network, optimizer)
        optimizer = gs.slim_optimizer(optimizer, step.network, slim)
        trained = nn.TrainOneStepCell(nn.WithLossCell(slim, nn.CrossEntropyLoss()), optimizer).set_train()
        for batch in range(3):
            moment()
            trained(Tensor(whole[batch::6]), Tensor(labels[batch::6]))
        slim.set_train(False)
        gs.save_state(state(number), slim, optimizer, number)

    slim, reports = gs.prune_in_steps(network, INPUTS, {"prune_rate": 0.5}, 3, train, folder=folder)
    return {**values(slim), "reports": np.array([str(report) for report in reports])}


def reconstruction(folder, network):
    """Layers solved anew."""
    algorithm = gs.OneShot({"prune_rate": 0.5})
    slim = algorithm.convert(algorithm.apply(network, INPUTS))
    again = gs.reconstruct(slim, network, [images(64)[0]], folder=folder)
    return {**values(again), "report": np.array(str(gs.reconstruction_report(again)))}


def batches(seed):
    return [tuple(part[start:start + 8] for part in images(24, seed)) for start in range(0, 24, 8)]


def comparison(folder, network):
    """Several criteria on one network."""
    found = gs.compare(network, INPUTS, ["l1", "scop"], {"prune_rate": 0.5}, batches(0), batches(1), batches(2),
                       epochs=1, seeds=2, knockoff_steps=6, scop={"turn_steps": 2}, folder=folder,
                       on_trial=lambda trial: moment())
    return {"page": np.array(found.to_markdown())}


def sensitivity(folder, network):
    """Accuracy over prune rate, group by group."""
    whole, labels = images()

    def evaluate(cell):
        moment()
        return float((cell(Tensor(whole)).asnumpy().argmax(1) == labels).mean())

    return {"page": np.array(str(gs.sensitivity(network, INPUTS, evaluate, rates=(0.25, 0.5), folder=folder)))}


KINDS = {function.__name__: function for function in
         (phase, gaussian, loop, steps, reconstruction, comparison, sensitivity)}


def main(kind, folder, last="0"):
    LEFT[0] = int(last)
    os.replace = put_in_place
    ms.set_context(mode=ms.GRAPH_MODE)
    print("begun", flush=True)
    made = KINDS[kind](folder, randomize(SmallNet()))
    np.savez(os.path.join(folder, "result.npz"), moments=-LEFT[0], **made)


if __name__ == "__main__":
    main(*sys.argv[1:])
