"""The course's second listing: a new classifier on a frozen Inception v3.

Only the import lines differ from the listing, but for three things: the images are few
and made up, there are 4 classes instead of 200, and the weights are random unless a
file of weights is named: ``python course_listing_2.py inception_v3_notop.safetensors``.
"""

import sys

import numpy as np
from fastconv.applications.inception_v3 import InceptionV3, preprocess_input

from fastconv.layers import Dense, GlobalAveragePooling2D
from fastconv.models import Model
from fastconv.utils import to_categorical

classes, size, batch = 4, 75, 8
weights = sys.argv[1] if len(sys.argv) > 1 else None


def batches():
    """Batches without end: images of one colour a class, with noise."""
    rng = np.random.default_rng(0)
    colours = rng.uniform(0, 255, (classes, 1, 1, 3))
    while True:
        labels = rng.integers(0, classes, batch)
        noise = rng.normal(0, 20, (batch, size, size, 3))
        images = np.clip(colours[labels] + noise, 0, 255)
        yield preprocess_input(images), to_categorical(labels, classes)


# The listing
# create the base pre-trained model
base_model = InceptionV3(weights=weights, include_top=False)
# add a global spatial average pooling layer
x = base_model.output
x = GlobalAveragePooling2D()(x)
# let's add a fully-connected layer
x = Dense(1024, activation="relu")(x)
# and a logistic layer
predictions = Dense(classes, activation="softmax")(x)
# this is the model we will train
model = Model(input=base_model.input, output=predictions)
# first: train only the top layers (which were randomly initialized)
# i.e. freeze all convolutional InceptionV3 layers
for layer in base_model.layers:
    layer.trainable = False
# compile the model (should be done *after* setting layers to non-trainable)
model.compile(optimizer="rmsprop", loss="categorical_crossentropy")
# train the model on the new data for a few epochs
history = model.fit_generator(
    batches(), samples_per_epoch=4 * batch, nb_epoch=2, verbose=2
)
print(f"training loss {history.history['loss'][-1]:.4f}")
