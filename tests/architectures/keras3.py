"""Models of Keras 3 on its torch backend, where every layer is a torch module."""

import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

from torch import Tensor

from tests.architectures.program import Program, normal

IMAGE = normal(2, 8, 8, 3)
STEPS = normal(2, 5, 3)


def keras() -> ModuleType:
    """Keras; it reads its backend from the environment when it is imported, and only then."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    keras.utils.set_random_seed(0)
    return keras


def of(model: Any, inputs: Tensor, **options: Any) -> Program:
    """In single precision, which is what Keras computes in."""
    return Program(
        model=model.eval(), inputs=inputs.float(), **{"rtol": 1e-4, "atol": 1e-5} | options
    )


def sequential() -> Program:
    k = keras()
    return of(
        k.Sequential(
            [
                k.Input((8, 8, 3)),
                k.layers.Conv2D(4, 3, padding="same", activation="relu"),
                k.layers.BatchNormalization(),
                k.layers.MaxPooling2D(2),
                k.layers.DepthwiseConv2D(3, strides=2),
                k.layers.Activation("gelu"),
                k.layers.Flatten(),
                k.layers.Dropout(0.5),
                k.layers.Dense(4),
            ]
        ),
        IMAGE,
        target=1,
    )


def functional() -> Program:
    """With a skip, a concatenation, a product, two outputs, and a softmax inside."""
    k = keras()
    x = k.Input((8, 8, 3))
    a = k.layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    b = k.layers.Conv2D(4, 3, padding="same")(a)
    h = k.layers.ReLU()(k.layers.Add()([a, b]))
    h = k.layers.Concatenate()([h, x])
    gate = k.layers.Dense(7, activation="sigmoid")(k.layers.GlobalAveragePooling2D()(h))
    h = k.layers.Multiply()([h, k.layers.Reshape((1, 1, 7))(gate)])
    h = k.layers.UpSampling2D(2)(k.layers.AveragePooling2D(2)(h))
    scores = k.layers.Dense(3)(k.layers.GlobalMaxPooling2D()(h))
    return of(k.Model(x, {"scores": scores, "map": h}), IMAGE)


def softmax() -> Program:
    """Ends in a softmax, whose scores are explained."""
    k = keras()
    layers = [k.Input((5, 3)), k.layers.Flatten(), k.layers.Dense(3, activation="softmax")]
    return of(k.Sequential(layers), STEPS)


def lstm() -> Program:
    k = keras()
    layers = [
        k.Input((5, 3)),
        k.layers.Bidirectional(k.layers.LSTM(4, return_sequences=True)),
        k.layers.GRU(4, return_sequences=True, reset_after=False),
        k.layers.SimpleRNN(4),
        k.layers.Dense(2),
    ]
    return of(k.Sequential(layers), STEPS, target=0)


def transformer() -> Program:
    k = keras()
    x = k.Input((5, 3))
    h = k.layers.Dense(8)(x)
    a = k.layers.MultiHeadAttention(2, 4)(h, h, use_causal_mask=True)
    h = k.layers.LayerNormalization()(k.layers.Add()([h, a]))
    return of(k.Model(x, k.layers.GlobalAveragePooling1D()(h)), STEPS, target=0)


def temporal() -> Program:
    k = keras()
    layers = [
        k.Input((5, 3)),
        k.layers.Conv1D(4, 2, padding="causal", dilation_rate=2, activation="elu"),
        k.layers.SeparableConv1D(4, 2),
        k.layers.Conv1DTranspose(3, 3, strides=2),
        k.layers.GlobalMaxPooling1D(),
        k.layers.PReLU(),
    ]
    return of(k.Sequential(layers), STEPS, target=0)


def own_operations() -> Program:
    """A layer of the user's that calls the functions of Keras."""
    k = keras()

    class Own(k.layers.Layer):
        def build(self, shape: Any) -> None:
            self.kernel = self.add_weight(shape=(shape[-1], 4), initializer="glorot_uniform")

        def call(self, x: Tensor) -> Tensor:
            h = k.ops.einsum("nsc,cd->nsd", x, self.kernel)
            return k.ops.logsumexp(k.ops.where(h > 0, h, k.ops.tanh(h)), axis=1)

    return of(k.Sequential([k.Input((5, 3)), Own()]), STEPS, target=0)


KERAS: dict[str, Callable[[], Program]] = {
    "sequential": sequential,
    "functional": functional,
    "softmax": softmax,
    "recurrent": lstm,
    "transformer": transformer,
    "temporal": temporal,
    "operations": own_operations,
}
