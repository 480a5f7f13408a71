"""A model as a whole: what it has learned, rather than why it decided one case."""

# ruff: noqa: F401  # what is imported for the type checker alone is public

from typing import TYPE_CHECKING

from pellucid.lazy import lazily

if TYPE_CHECKING:
    from pellucid.inspect.activations import Activation, Activations, activations
    from pellucid.inspect.dreaming.density import Density, fit_density
    from pellucid.inspect.dreaming.dream import dream
    from pellucid.inspect.dreaming.dreams import Dreams
    from pellucid.inspect.dreaming.fourway import DreamComparison, compare_dreams
    from pellucid.inspect.dreaming.generator import Generator, fit_generator
    from pellucid.inspect.dreaming.objective import Objective
    from pellucid.inspect.dreaming.quality import quality
    from pellucid.inspect.embedding import Embedding, embed
    from pellucid.inspect.filters import Filters, filters
    from pellucid.inspect.layer_table import LayerTable, layers
    from pellucid.inspect.passes import Pass, passes
    from pellucid.inspect.receptive import ReceptiveField, receptive_field
    from pellucid.inspect.representation import represent
    from pellucid.inspect.surrogate import Surrogate, fit_surrogate
    from pellucid.inspect.top import TopExamples, top_examples

# Public name -> the module of this room it lives in; the type checker reads the imports above.
__all__ = lazily(__name__, {  # noqa: PLE0605  # a sorted list is a list
    "Activation": "activations",
    "Activations": "activations",
    "Density": "dreaming.density",
    "DreamComparison": "dreaming.fourway",
    "Dreams": "dreaming.dreams",
    "Embedding": "embedding",
    "Filters": "filters",
    "Generator": "dreaming.generator",
    "LayerTable": "layer_table",
    "Objective": "dreaming.objective",
    "Pass": "passes",
    "ReceptiveField": "receptive",
    "Surrogate": "surrogate",
    "TopExamples": "top",
    "activations": "activations",
    "compare_dreams": "dreaming.fourway",
    "dream": "dreaming.dream",
    "embed": "embedding",
    "filters": "filters",
    "fit_density": "dreaming.density",
    "fit_generator": "dreaming.generator",
    "fit_surrogate": "surrogate",
    "layers": "layer_table",
    "passes": "passes",
    "quality": "dreaming.quality",
    "receptive_field": "receptive",
    "represent": "representation",
    "top_examples": "top",
})  # fmt: skip
