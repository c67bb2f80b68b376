"""Recipes: which scripts, in which order, with which options. They compute nothing themselves."""

import sys
from pathlib import Path

from invoke import Collection

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # invoke adds only tasks/ itself

from tasks import data, demo, dev, pretrain, studies, sweeps

namespace = Collection(
    *(studies.bert, studies.bert_all, studies.hubert, studies.hubert_all, demo.demo, dev.test)
)
namespace.add_collection(data.namespace, name="data")
namespace.add_collection(sweeps.namespace, name="study")
namespace.add_collection(pretrain.namespace, name="pretrain")
namespace.add_collection(dev.namespace, name="dev")
namespace.configure({"run": {"echo_format": "{command}"}})  # plain: to be pasted
