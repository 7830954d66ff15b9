"""Will this flight arrive more than 15 minutes late? Everything that is the team's own is in this file."""

from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss, roc_auc_score

from accelerator.contract import Double, Integer

search_space = {
    "learning_rate": Double(0.03, 0.3, scale="log"),
    "max_leaf_nodes": Integer(8, 64),
    "min_samples_leaf": Integer(20, 1000, scale="log"),
}


def train(train, validation, learning_rate=0.1, max_leaf_nodes=15, min_samples_leaf=200, seed=0):
    model = HistGradientBoostingClassifier(
        learning_rate=learning_rate,
        max_leaf_nodes=max_leaf_nodes,
        min_samples_leaf=min_samples_leaf,
        max_iter=100,
        categorical_features="from_dtype",  # carrier, origin and dest come as categories
        random_state=seed,
    )
    model.fit(train.features, train.label)
    late = model.predict_proba(validation.features)[:, 1]
    return model, {"auc": roc_auc_score(validation.label, late), "log_loss": log_loss(validation.label, late)}
