"""The team's code: hyperparameters to search, and how the model is trained."""

import copy

import numpy as np
import pandas as pd
import torch
from pandas.api import types
from sklearn.metrics import accuracy_score, mean_absolute_error, r2_score, roc_auc_score
from torch import nn

from accelerator.contract import Double, Integer

search_space = {
    "learning_rate": Double(0.0003, 0.03, scale="log"),
    "width": Integer(16, 256, scale="log"),
    "dropout": Double(0, 0.5),
}


def train(train, validation, learning_rate=0.003, width=64, dropout=0.1, epochs=200, seed=0):
    torch.manual_seed(seed)
    inputs = Inputs(train.features)
    if is_quantity(train.label):
        net = Net(inputs, width, dropout, outputs=1)
        model = Regressor(inputs, net, train.label.mean(), train.label.std())
        loss, measure = nn.MSELoss(), measure_quantity
    else:
        classes = np.unique(train.label)
        net = Net(inputs, width, dropout, outputs=len(classes))
        model = Classifier(inputs, net, classes)
        loss, measure = nn.CrossEntropyLoss(), measure_classes
    fit(net, loss, model.examples(train), model.examples(validation), learning_rate, epochs)
    return model, measure(model, validation)


def fit(net, loss, examples, held_out, learning_rate, epochs, patience=10):
    """Trains until the validation rows have not gained by `patience` epochs; the best net of them stays."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=learning_rate)
    *inputs, target = examples
    *held_out_inputs, held_out_target = held_out
    lowest, best, best_epoch = float("inf"), None, 0
    for epoch in range(epochs):
        net.train()
        for batch in torch.randperm(len(target)).split(256):
            optimizer.zero_grad()
            loss(net(*(tensor[batch] for tensor in inputs)), target[batch]).backward()
            optimizer.step()
        net.eval()
        with torch.inference_mode():
            reached = loss(net(*held_out_inputs), held_out_target).item()
        print(f"epoch {epoch + 1}: a loss of {reached:.4f} on the validation rows")
        if reached < lowest:
            lowest, best, best_epoch = reached, copy.deepcopy(net.state_dict()), epoch
        elif epoch - best_epoch >= patience:
            break
    net.load_state_dict(best)


class Net(nn.Module):
    """Two hidden layers over the numbers and an embedding of each category."""

    def __init__(self, inputs, width, dropout, outputs):
        super().__init__()
        sizes = [(count, min(32, 1 + count // 2)) for count in inputs.categories.values()]
        self.embeddings = nn.ModuleList(nn.Embedding(count, size) for count, size in sizes)
        given = 2 * len(inputs.numbers) + sum(size for _, size in sizes)
        hidden = nn.Linear(given, width), nn.ReLU(), nn.Dropout(dropout)
        more = nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout)
        self.layers = nn.Sequential(*hidden, *more, nn.Linear(width, outputs))

    def forward(self, numbers, codes):
        embedded = [embedding(codes[:, index]) for index, embedding in enumerate(self.embeddings)]
        return self.layers(torch.cat([numbers, *embedded], dim=1))


class Inputs:
    """Columns as the net takes them, in training and in prediction alike: numbers and codes of categories."""

    def __init__(self, features):
        names = taken(features)
        kinds = {name: features[name].dtype for name in names if isinstance(features[name].dtype, pd.CategoricalDtype)}
        # Code 0 is for no value, and for one that training has not seen.
        self.categories = {name: len(kind.categories) + 1 for name, kind in kinds.items()}
        self.numbers = [name for name in names if name not in kinds]
        numbers = self.as_numbers(features)
        self.mean, self.scale = numbers.mean(), numbers.std(ddof=0).replace(0, 1)

    def as_numbers(self, features):
        numbers = {name: as_number(features[name]) for name in self.numbers}
        return pd.DataFrame(numbers, index=features.index).replace([np.inf, -np.inf], np.nan)

    def __call__(self, features):
        """Standardised numbers, each with whether it is there (NULL counts as the mean), and codes."""
        numbers = (self.as_numbers(features) - self.mean) / self.scale
        known = np.hstack([numbers.fillna(0), numbers.notna()])
        codes = [features[name].cat.codes.to_numpy(np.int64) + 1 for name in self.categories]
        codes = np.array(codes, np.int64).reshape(len(codes), len(features)).T
        return torch.tensor(known, dtype=torch.float32), torch.tensor(codes)


class Model:
    """A net and how the columns come into it."""

    def __init__(self, inputs, net):
        self.inputs, self.net = inputs, net

    def outputs(self, features):
        with torch.inference_mode():
            return self.net(*self.inputs(features))


class Regressor(Model):
    """What is saved and served: predicts a quantity for each row."""

    def __init__(self, inputs, net, mean, scale):
        super().__init__(inputs, net)
        self.mean, self.scale = mean, scale

    def examples(self, rows):
        target = ((rows.label - self.mean) / self.scale).to_numpy(np.float32)
        return *self.inputs(rows.features), torch.tensor(target[:, None])

    def predict(self, features):
        return self.outputs(features)[:, 0].numpy() * self.scale + self.mean


class Classifier(Model):
    """What is saved and served: a score for each class."""

    def __init__(self, inputs, net, classes):
        super().__init__(inputs, net)
        self.classes_ = classes

    def examples(self, rows):
        # Of a class that training has no row of, nothing can be learnt.
        known = rows.label.isin(self.classes_)
        target = np.searchsorted(self.classes_, rows.label[known])
        return *self.inputs(rows.features[known]), torch.tensor(target)

    def predict_proba(self, features):
        return self.outputs(features).softmax(dim=1).numpy()

    def predict(self, features):
        return self.classes_[self.predict_proba(features).argmax(axis=1)]


def as_number(column):
    """Numbers as they are, true as 1, and times in days."""
    if types.is_datetime64_any_dtype(column):
        column = (column - pd.Timestamp(0, tz=column.dt.tz)) / pd.Timedelta(days=1)
    return column.astype(float)


def taken(features):
    """The columns that the model takes: numbers, times, and text whose values repeat; it names no single rows."""
    names = [name for name, column in features.items() if teaches(column)]
    if not names:
        raise ValueError("no column has numbers, times or text that repeats: there is nothing to learn from")
    return names


def teaches(column):
    if isinstance(column.dtype, pd.CategoricalDtype):
        return 0 < 2 * column.nunique() <= column.count()
    return column.notna().any() and (types.is_numeric_dtype(column) or types.is_datetime64_any_dtype(column))


def is_quantity(label):
    """Whether the label is a number to be estimated rather than one of a few classes."""
    if types.is_bool_dtype(label) or not types.is_numeric_dtype(label):
        return False
    return label.nunique() > 20 or bool((label % 1 != 0).any())


def measure_quantity(model, validation):
    predicted = model.predict(validation.features)
    metrics = {"mae": mean_absolute_error(validation.label, predicted)}
    if validation.label.nunique() > 1:
        metrics["r2"] = r2_score(validation.label, predicted)
    return metrics


def measure_classes(model, validation):
    metrics = {"accuracy": accuracy_score(validation.label, model.predict(validation.features))}
    if len(model.classes_) == 2 and validation.label.nunique() == 2:
        metrics["auc"] = roc_auc_score(validation.label, model.predict_proba(validation.features)[:, 1])
    return metrics
