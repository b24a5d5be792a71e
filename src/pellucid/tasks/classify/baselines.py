# SPDX-License-Identifier: Apache-2.0
"""Trivial and classical classifiers: probabilities (N, K) from flat pixels (N, D)."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

__all__ = ["directions", "logistic", "majority", "neighbours"]

_RIDGES = (1e-2, 1e-3, 1e-4)

Pixels = NDArray[np.float32]


def majority(labels: NDArray[np.int64], images: int, classes: int) -> NDArray[np.float32]:
    """The same answer for every image: the shares of the classes among the training images.

    >>> majority(np.array([0, 1, 1, 1]), 2, 2).tolist()
    [[0.25, 0.75], [0.25, 0.75]]
    """
    shares = np.bincount(labels, minlength=classes) / len(labels)
    return np.tile(shares.astype(np.float32), (images, 1))


def neighbours(train: Pixels, test: Pixels, labels: NDArray[np.int64], classes: int, k: int) -> NDArray[np.float32]:
    """The shares of the classes among the k training images with the nearest pixels, by Euclidean distance."""
    from sklearn.neighbors import KNeighborsClassifier

    model = KNeighborsClassifier(min(k, len(train))).fit(train, labels)
    return _all_classes(model.predict_proba(test), model.classes_, classes)


def directions(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Features (N, F) at length 1, so that the nearest by Euclidean distance is the one with the largest cosine.

    >>> directions(np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)).round(2).tolist()
    [[0.6..., 0.8...], [0.0, 0.0]]
    """
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.where(length > 0, length, 1), np.float32)


def logistic(train: Pixels, test: Pixels, labels: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """Multinomial logistic regression on the pixels, with a ridge penalty chosen on the last fifth of the training images."""
    centre, cut = train.mean(0), -max(1, len(train) // 5)
    train, test = train - centre, test - centre

    def accuracy(ridge: float) -> float:
        probabilities = _fitted(train[:cut], labels[:cut], ridge, train[cut:], classes)
        return float((probabilities.argmax(1) == labels[cut:]).mean())

    single = len(np.unique(labels[:cut])) < 2  # one class alone: every penalty has the same accuracy
    return _fitted(train, labels, _RIDGES[0] if single else max(_RIDGES, key=accuracy), test, classes)


def _fitted(train: Pixels, labels: NDArray[np.int64], ridge: float, test: Pixels, classes: int) -> NDArray[np.float32]:
    """At most 100 iterations of L-BFGS; `ridge` is the penalty per image, which does not depend on their number."""
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(labels)) < 2:  # scikit-learn refuses a single class
        return majority(labels, len(test), classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 100 iterations may not converge, which is accepted
        model = LogisticRegression(C=1 / (ridge * len(train)), max_iter=100, tol=1e-3).fit(train, labels)
    return _all_classes(model.predict_proba(test), model.classes_, classes)


def _all_classes(probabilities: NDArray[np.floating], known: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """Columns for all classes (N, K), from columns for the classes that occur among the training images."""
    shares = np.zeros((len(probabilities), classes), np.float32)
    shares[:, known] = probabilities
    return shares
