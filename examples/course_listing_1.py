"""The course's first listing: a convolutional network as it was written for Keras 1.

Only the import lines differ from the listing, and the data are small and made up: four
classes of images (depth, height, width), told apart by where they are bright.
"""

import numpy as np

from fastconv.layers.channels_first import (
    Activation,
    Convolution2D,
    Dense,
    Dropout,
    Flatten,
    MaxPooling2D,
)
from fastconv.models import Sequential
from fastconv.optimizers import SGD
from fastconv.utils import to_categorical

# Data and sizes, which the listing takes for granted
num_classes, depth, height, width = 4, 3, 16, 20
conv_depth_1, kernel_size, pooling_size, drop_prob = 8, 3, 2, 0.25
hidden_size1, learning_rate, valid_proportion = 32, 0.1, 0.1
rng = np.random.default_rng(0)


def images(labels):
    """Noise, with one bright quarter: the class is its number."""
    x = rng.normal(0, 0.3, (len(labels), depth, height, width))
    for image, label in zip(x, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[:, row * 8 : row * 8 + 8, column * 10 : column * 10 + 10] += 1
    return x


train_labels = rng.integers(0, num_classes, 640)
test_labels = rng.integers(0, num_classes, 64)
X_train, Y_train = images(train_labels), to_categorical(train_labels, num_classes)
X_test, Y_test = images(test_labels), to_categorical(test_labels, num_classes)

# The listing
model = Sequential()
# 1 set of (Convolution+Pooling) layers, with Dropout
model.add(
    Convolution2D(
        conv_depth_1,
        kernel_size,
        kernel_size,
        border_mode="valid",
        input_shape=(depth, height, width),
    )
)
model.add(MaxPooling2D(pool_size=(pooling_size, pooling_size)))
model.add(Activation("relu"))
model.add(Dropout(drop_prob))
# Now flatten to 1D, and apply 1 Fully_Connected layer
model.add(Flatten())
model.add(Dense(hidden_size1, init="lecun_uniform"))
model.add(Activation("sigmoid"))
# Finally add a Softmax output layer, with 1 neuron per class
model.add(Dense(num_classes, init="lecun_uniform"))
model.add(Activation("softmax"))
# Training "session"
sgd = SGD(lr=learning_rate, momentum=0.8)  # Optimizer
model.compile(loss="categorical_crossentropy", optimizer=sgd)
model.fit(
    X_train,
    Y_train,
    batch_size=32,
    nb_epoch=2,
    verbose=1,
    validation_split=valid_proportion,
)
# Evaluate the trained model on the test set
loss = model.evaluate(X_test, Y_test, verbose=1)
print(f"test loss {loss:.4f}")
