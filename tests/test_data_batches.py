"""Batches: order, splits, structures, sources, and what is refused."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastconv.data import (
    ArrayBatches,
    Batches,
    IterableBatches,
    as_batches,
    check_nan,
    k_fold,
    permutation,
    split_validation,
    stratified_split,
    train_test_split,
)
from fastconv.errors import ArgumentError, DataError, ShapeError


def ids(batches) -> list[int]:
    return [int(i) for x, _, _ in batches for i in np.ravel(x)]


# Permutations


@given(st.integers(0, 300), st.integers(0, 2**64 - 1), st.integers(0, 2**32))
def test_permutation_is_one(n, seed, epoch):
    order = permutation(n, seed, epoch)
    assert sorted(order.tolist()) == list(range(n))
    assert (order == permutation(n, seed, epoch)).all()


def test_permutation_is_philox_keyed_by_seed_and_epoch():
    generator = np.random.Generator(np.random.Philox(key=[3, 5]))
    assert (permutation(50, 3, 5) == generator.permutation(50)).all()
    assert permutation(8, 0, 0).tolist() != permutation(8, 0, 1).tolist()
    assert permutation(8, 0, 0).tolist() != permutation(8, 1, 0).tolist()


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "a", None])
def test_bad_seeds(seed):
    with pytest.raises(ArgumentError, match="seed: expected"):
        permutation(3, seed)


# Arrays


@given(st.integers(1, 60), st.integers(1, 70), st.booleans())
def test_every_sample_once(n, batch_size, shuffle):
    data = ArrayBatches(np.arange(n), np.arange(n) * 2, np.ones(n), batch_size)
    batches = list(data.batches(4, shuffle))
    assert len(batches) == len(data) == data.num_batches
    assert data.num_samples == n
    sizes = [len(x) for x, _, _ in batches]
    assert all(size == batch_size for size in sizes[:-1])
    assert sorted(ids(batches)) == list(range(n))
    assert all((y == 2 * x).all() for x, y, _ in batches)


def test_an_epoch_does_not_depend_on_those_before():
    first, second = (ArrayBatches(np.arange(20), seed=9, shuffle=True) for _ in "ab")
    for epoch in range(3):
        list(first.batches(epoch))
    assert ids(first.batches(3)) == ids(second.batches(3))
    assert ids(first.batches(2)) != ids(first.batches(3))


def test_without_shuffling_batches_are_views():
    x = np.zeros((10, 3), np.float32)
    assert all(np.shares_memory(batch, x) for batch, _, _ in ArrayBatches(x))


def test_nested_structures():
    x = {"image": np.zeros((4, 2)), "size": (np.arange(4), [1, 2, 3, 4])}
    x_batch, y_batch, w_batch = next(ArrayBatches(x, [0, 1, 2, 3], None, 3).batches())
    assert x_batch["image"].shape == (3, 2)
    assert isinstance(x_batch["size"], tuple)
    assert x_batch["size"][1].tolist() == [1, 2, 3]
    assert y_batch.tolist() == [0, 1, 2]
    assert w_batch is None


def test_memory_mapped(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(10.0))
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    batch = next(ArrayBatches(x, batch_size=4).batches())[0]
    assert np.shares_memory(batch, x)
    assert len(ids(ArrayBatches(x).batches(0, shuffle=True))) == 10


def test_lengths_must_agree():
    with pytest.raises(ShapeError, match=r"x\['a'\] has 3 .* but y\[1\] has 4"):
        ArrayBatches({"a": np.zeros((3, 2))}, (np.zeros(3), np.zeros((4, 1))))
    with pytest.raises(ShapeError, match="sample_weight has 2"):
        ArrayBatches(np.zeros(3), np.zeros(3), np.zeros(2))
    with pytest.raises(ShapeError, match="scalar"):
        ArrayBatches(np.float32(3))


@pytest.mark.parametrize("x", [np.zeros((0, 3)), [], {}, None, {"a": None}])
def test_no_samples(x):
    with pytest.raises(DataError, match=r"no (samples|array)"):
        ArrayBatches(x)


@pytest.mark.parametrize(
    "x", [np.array([{}, 1], object), np.array(["a"]), [[1, 2], [3]], ["a", "b"]]
)
def test_what_is_no_number(x):
    with pytest.raises(DataError, match=r"^x"):
        ArrayBatches(x)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_first_nan_is_found_past_chunks(dtype):
    x = np.zeros((3_000, 700), dtype)
    x[2_345, 678] = x[2_999, 0] = np.nan
    with pytest.raises(DataError, match=r"x\[1\]: NaN at position \(2345, 678\)"):
        ArrayBatches((np.zeros(3_000), x))
    ArrayBatches((np.zeros(3_000), x), nan=False)


def test_infinity_is_not_nan():
    check_nan(np.array([np.inf, -np.inf]), "x")
    check_nan(np.zeros((0, 3)), "x")
    check_nan(np.zeros((3, 0)), "x")


@pytest.mark.parametrize("size", [0, -1, 1.5, None])
def test_bad_batch_sizes(size):
    with pytest.raises(ArgumentError, match="batch_size: expected"):
        ArrayBatches(np.zeros(3), batch_size=size)


# Splits


@given(st.integers(2, 500), st.floats(0.01, 0.99))
def test_validation_split_is_the_last_part(n, share):
    cut = int(np.floor(n * (1 - share)))
    x = np.arange(n)
    if cut in (0, n):
        with pytest.raises(DataError, match="leaves"):
            split_validation(x, None, None, share)
        return
    train, validation = split_validation({"a": x}, (x,), None, share)
    assert train[0]["a"].tolist() == list(range(cut))
    assert validation[1][0].tolist() == list(range(cut, n))
    assert train[2] is None
    assert np.shares_memory(train[0]["a"], x)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 2, float("nan")])
def test_bad_shares(share):
    with pytest.raises(ArgumentError, match="validation_split"):
        split_validation(np.arange(4), None, None, share)


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=200),
    st.floats(0.05, 0.95),
    st.integers(0, 99),
)
def test_stratified_split(labels, share, seed):
    y = np.array(labels)
    kept, held = stratified_split(y, share, seed)
    assert sorted([*kept, *held]) == list(range(len(y)))
    assert len(held) == round(len(y) * share)
    for label in set(labels):
        exact = share * labels.count(label)
        assert abs((y[held] == label).sum() - exact) < 1


# Iterables


class Tensor:
    """Like torch's: a method ``numpy`` that refuses until it is detached."""

    def __init__(self, array, grad=True):
        self.array, self.grad = array, grad

    def detach(self):
        return Tensor(self.array, grad=False)

    def cpu(self):
        return self

    def numpy(self):
        assert not self.grad
        return self.array


class Loader:
    """Like ``torch.utils.data.DataLoader``: lists of tensors, and a length."""

    def __len__(self):
        return 3

    def __iter__(self):
        return ([Tensor(np.full((2, 1), i)), Tensor(np.arange(2))] for i in range(3))


class Sequence:
    """Like Keras's PyDataset."""

    def __init__(self):
        self.events = []

    def __len__(self):
        return 6

    def __getitem__(self, i):
        if not 0 <= i < 6:
            raise IndexError(i)
        return np.full((2, 1), i), np.zeros(2), np.ones(2)

    def on_epoch_end(self):
        self.events.append("end")


def test_loader():
    data = as_batches(Loader())
    assert isinstance(data, IterableBatches)
    assert data.num_batches == 3
    assert data.num_samples is None
    for epoch in range(2):
        assert ids(data.batches(epoch)) == [0, 0, 1, 1, 2, 2]


def test_sequence_is_shuffled_by_batches():
    source = Sequence()
    data = as_batches(source, shuffle=True, seed=4)
    expected = np.repeat(permutation(6, 4, 2), 2).tolist()
    assert ids(data.batches(2)) == expected
    assert ids(data.batches(2, shuffle=False)) == np.repeat(range(6), 2).tolist()
    assert source.events == ["end", "end"]


def test_generator_goes_on_where_it_stopped():
    data = as_batches(np.full(1, i) for i in range(5))
    assert data.num_batches is None
    assert ids(itertools.islice(data.batches(0), 2)) == [0, 1]
    assert ids(itertools.islice(data.batches(1), 2)) == [2, 3]
    assert ids(data.batches(2)) == [4]
    with pytest.raises(DataError, match="no batch in epoch 3"):
        list(data.batches(3))


@pytest.mark.parametrize("batch", [np.ones(2), (np.ones(2),), {"a": np.ones(2)}])
def test_x_alone(batch):
    _, y, w = next(iter(as_batches(iter([batch]))))
    assert y is None
    assert w is None


@pytest.mark.parametrize(
    ("batch", "error"),
    [
        ((np.ones(1),) * 4, DataError),
        ((), DataError),
        ((np.ones(2), np.ones(3)), ShapeError),
        ((np.array([np.nan]), np.ones(1)), DataError),
        (np.array(["a"]), DataError),
        ((None, np.ones(1)), DataError),
    ],
)
def test_bad_batches_are_named(batch, error):
    data = as_batches(iter([np.ones(1), batch]))
    with pytest.raises(error, match="batch 1"):
        list(data.batches())


@pytest.mark.parametrize("source", [5, "text", b"bytes", object()])
def test_what_is_no_source(source):
    with pytest.raises(DataError, match="expected arrays, or an iterable"):
        as_batches(source)


def test_as_batches_picks():
    assert isinstance(as_batches([np.ones(3), np.ones(3)]), ArrayBatches)
    made = as_batches(np.ones(3))
    assert as_batches(made) is made
    assert isinstance(as_batches(Loader()), Batches)
    with pytest.raises(ArgumentError, match="y: expected None"):
        as_batches(Loader(), np.ones(3))
    with pytest.raises(ArgumentError, match="sample_weight: expected None"):
        as_batches(made, None, np.ones(3))


def test_torch_data_loader():
    torch = pytest.importorskip("torch")
    dataset = torch.utils.data.TensorDataset(torch.arange(6), torch.ones(6))
    loader = torch.utils.data.DataLoader(dataset, batch_size=4)
    assert ids(as_batches(loader).batches()) == list(range(6))


# The middle of an epoch


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("start", [0, 1, 3, 4, 9])
def test_an_epoch_goes_on_at_a_batch(start, shuffle):
    arrays = ArrayBatches(np.arange(10), batch_size=3, seed=2)
    indexed = IterableBatches([np.arange(i, i + 1) for i in range(4)], seed=2)
    for data in (arrays, indexed):
        whole = [x.tolist() for x, _, _ in data.batches(5, shuffle)]
        rest = [x.tolist() for x, _, _ in data.batches(5, shuffle, start=start)]
        assert rest == whole[start:]


def test_skipped_batches_are_asked_for_only_where_they_must_be():
    class Source:
        asked: list[int] = []  # noqa: RUF012

        def __len__(self):
            return 5

        def __getitem__(self, i):
            self.asked.append(i)
            return np.array([i])

    assert ids(IterableBatches(Source()).batches(start=3)) == [3, 4]
    assert Source.asked == [3, 4]
    generator = (np.array([i]) for i in range(5))
    assert ids(IterableBatches(generator).batches(start=3)) == [3, 4]


@pytest.mark.parametrize("start", [-1, 1.5])
def test_bad_starts(start):
    for data in (ArrayBatches(np.arange(3)), IterableBatches([np.arange(3)])):
        with pytest.raises(ArgumentError, match="start: expected"):
            next(data.batches(start=start))


# Folds


@given(st.integers(2, 60), st.integers(2, 9), st.integers(0, 5), st.booleans())
def test_folds_share_out_all_samples(n, k, seed, stratified):
    labels = np.random.default_rng(seed).integers(0, 4, n)
    if k > n:
        with pytest.raises(ArgumentError, match="k: expected at most"):
            k_fold(labels, k, seed)
        return
    folds = k_fold(labels, k, seed, stratified)
    assert len(folds) == k
    held = np.concatenate([validation for _, validation in folds])
    assert sorted(held.tolist()) == list(range(n))
    for training, validation in folds:
        assert sorted([*training, *validation]) == list(range(n))
    assert np.ptp([len(validation) for _, validation in folds]) <= 1
    if stratified:
        counts = [np.bincount(labels[v], minlength=4) for _, v in folds]
        assert (np.ptp(counts, axis=0) <= 1).all()


def test_folds_follow_from_the_seed():
    first, again, other = (k_fold(30, 3, seed)[0][1].tolist() for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(
    ("arguments", "words"),
    [((10, 1), "k: expected 2"), ((10, 2, -1), "seed"), ((10, 2, 0, True), "labels")],
)
def test_bad_folds(arguments, words):
    with pytest.raises(ArgumentError, match=words):
        k_fold(*arguments)


def test_training_and_test_parts():
    x, y = np.arange(40).reshape(20, 2), np.array([0] * 15 + [1] * 5)
    parts = train_test_split(x, y, {"n": np.arange(20)}, test_size=0.4, stratify=y)
    x_train, x_test, y_train, y_test, n_train, n_test = parts
    assert (x_train[:, 0] == 2 * n_train["n"]).all()
    assert np.bincount(y_train).tolist() == [9, 3]
    assert np.bincount(y_test).tolist() == [6, 2]
    assert sorted([*n_train["n"], *n_test["n"]]) == list(range(20))
    assert x_test.shape == (8, 2)


def test_bad_parts():
    with pytest.raises(ArgumentError, match="an array or more"):
        train_test_split()
    with pytest.raises(ArgumentError, match="fraction"):
        train_test_split(np.arange(4), test_size=1.5)
    with pytest.raises(ShapeError, match="4"):
        train_test_split(np.arange(4), np.arange(5))
    with pytest.raises(DataError, match="leaves"):
        train_test_split(np.arange(2), test_size=0.1)


# Memory


def test_training_reads_arrays_where_they_are(monkeypatch):
    """Unshuffled float32 batches reach the plan at their address in the array."""
    import fastconv as fc
    from fastconv.execution.executable import Executable

    x = np.random.default_rng(0).random((12, 5), np.float32)
    y = np.random.default_rng(1).random((12, 2), np.float32)
    seen = []
    run = Executable.__call__

    def watch(self, arrays):
        seen.extend(a.ctypes.data for a in arrays)
        return run(self, arrays)

    monkeypatch.setattr(Executable, "__call__", watch)
    model = fc.Sequential([fc.layers.Input((5,)), fc.layers.Dense(2)])
    model.compile("sgd", "mse")
    model.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    for array in (x, y):
        assert {array[i].ctypes.data for i in (0, 4, 8)} <= set(seen)
