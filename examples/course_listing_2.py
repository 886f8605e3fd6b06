"""The course's second listing: a new classifier on a frozen Inception v3.

Only the import lines differ from the listing, but for the number of classes, and what
``--data`` and ``--weights`` say: a folder with ``train`` and ``test``, each with a
folder of images for each class (`voc_crops.py` makes one), and a file of weights::

    python examples/course_listing_2.py --data cells --weights inception_v3.h5

Without, the images are few and made up, and the weights are random: then the base is
shown images first, for the statistics of its normalisations, without which 94 layers
of random convolutions give zeros.
"""

import argparse

import numpy as np
from fastconv.applications.inception_v3 import InceptionV3, preprocess_input

from fastconv import datasets
from fastconv.layers import Dense, GlobalAveragePooling2D
from fastconv.models import Model
from fastconv.utils import set_random_seed, to_categorical

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--data", help="folder of images")
parser.add_argument("--weights", help="file of weights")
parser.add_argument("--size", type=int, default=75, help="pixels of a side")
parser.add_argument("--epochs", type=int, default=2)
args = parser.parse_args()
set_random_seed(0)
rng = np.random.default_rng(0)
batch = 8

if args.data:
    found = datasets.load(args.data, (args.size, args.size))
    images, labels = found.x_train, found.y_train
else:  # of one colour a class, with noise
    labels = np.arange(32) % 4
    images = rng.uniform(0, 255, (4, 1, 1, 3))[labels]
    images = np.clip(images + rng.normal(0, 20, (32, args.size, args.size, 3)), 0, 255)
classes = labels.max() + 1


def batches():
    """Batches of images and one-hot labels, without end."""
    while True:
        order = rng.permutation(len(images))
        for rows in np.array_split(order, -(-len(images) // batch)):
            yield preprocess_input(images[rows]), to_categorical(labels[rows], classes)


# The listing
# create the base pre-trained model
base_model = InceptionV3(weights=args.weights, include_top=False)
if not args.weights:
    normalisations = [n for n in base_model.layers if hasattr(n, "moving_mean")]
    for layer in normalisations:
        layer.momentum = 0.5
    for _ in range(10):
        seen = rng.choice(len(images), 16)
        base_model(preprocess_input(images[seen]), training=True)
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
    batches(), samples_per_epoch=len(images), nb_epoch=args.epochs, verbose=2
)
if args.data:
    scores = model.predict(preprocess_input(found.x_test), verbose=0)
    print(f"test accuracy {(scores.argmax(1) == found.y_test).mean():.4f}")
else:
    print(f"training loss {history.history['loss'][-1]:.4f}")
