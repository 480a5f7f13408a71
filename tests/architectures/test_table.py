"""No operation of these programs is walked without somebody having looked at it."""

import warnings
from collections.abc import Callable
from functools import partial

import pytest

import pellucid as pl
from pellucid.tape.adjoints import ROWS
from tests.architectures import forms, functions, keras3, layers, networks, stock, tools
from tests.architectures.program import SEEN, Program

TABLES: dict[str, dict[str, Callable[[], Program]]] = {
    "network": networks.NETWORKS,
    "function": functions.FUNCTIONS,
    "output": tools.OUTPUTS,
    "input": tools.INPUTS,
    "attention": tools.ATTENTION,
    "tool": tools.TOOLS,
    "layer": {row: partial(layers.ROWS[row], layers.layer_of(row)) for row in layers.ROWS},
    "form": forms.FORMS,
    "stock": stock.GRADIENTS,
    "keras": keras3.KERAS,
}

# Operations without a row: autograd's own adjoint is taken. A new one is to be looked at: whether
# it deserves a row, and whether running it twice gives the same (it may draw random numbers).
# fmt: off
BY_AUTOGRAD = {
    # two signals that meet
    "_cdist_forward", "_sparse_addmm", "_trilinear", "addcdiv", "atan2", "fmin", "fmod",
    "grid_sampler_2d", "hypot", "lerp", "maximum", "minimum", "remainder", "scatter_add",
    "scatter_reduce",
    # many numbers of one sample
    "_ctc_loss", "cummax", "cumprod", "linalg_vector_norm", "logcumsumexp",
    "multilabel_margin_loss_forward", "prod", "var", "var_mean",
    # matrices
    "_linalg_check_errors", "_linalg_det", "_linalg_eigh", "_linalg_solve_ex", "_linalg_svd",
    "linalg_cholesky_ex", "linalg_inv_ex", "linalg_matrix_exp",
    # complex numbers
    "_fft_c2c", "_fft_c2r", "_fft_r2c", "angle", "complex", "polar", "view_as_complex",
    "view_as_real",
    # one number at a time
    "diagonal_scatter", "i0", "fake_quantize_per_tensor_affine_cachemask", "polygamma",
    "special_i0e", "special_i1", "special_i1e",
    # several at once
    "_foreach_mul",
    # nothing passes: they tell integers, truths or errors, or draw
    "_has_same_storage_numel", "any", "bitwise_and", "bucketize", "embedding", "exponential",
    "is_same_size", "logical_and", "multinomial", "trunc",
}
# fmt: on


def operations_of(table: str, name: str) -> set[str]:
    """The names on the tape of a program: of a test that ran before, or of a new recording."""
    key = f"{table}: {name}"
    if key not in SEEN:
        made = TABLES[table][name]()
        SEEN[key] = {operation.name for operation in pl.record(made.model, made.inputs).operations}
    return SEEN[key]


@pytest.fixture(scope="module")
def seen() -> dict[str, str]:
    """Every operation, and one program that it occurs in."""
    found: dict[str, str] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the programs, each looked at in its own test
        for table, rows in TABLES.items():
            for name in rows:
                found |= dict.fromkeys(operations_of(table, name), f"{table}: {name}")
    return found


def test_every_operation_has_a_row_or_is_listed(seen):
    unknown = {name: where for name, where in seen.items() if name not in {*ROWS, *BY_AUTOGRAD}}
    assert unknown == {}


def test_nothing_is_listed_in_vain(seen):
    assert {name for name in BY_AUTOGRAD if name in ROWS or name not in seen} == set()


def test_the_programs_reach_most_of_the_table(seen):
    """What has a row and occurs nowhere here is tested on its own, or is too rare to matter."""
    assert len(set(ROWS) & set(seen)) >= 180
