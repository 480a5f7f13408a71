"""One function of torch at a time, on samples or images."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.architectures.program import Program, net, normal, program

X = normal(3, 5)
IMAGE = normal(2, 3, 6, 6)
INDEX = torch.tensor([[0, 3], [1, 1], [4, 2]])
WEIGHT = normal(5, 5, seed=1)


def of_x(function: Callable[..., Any], **options: Any) -> Callable[[], Program]:
    return lambda: program(net(function), X.clone(), **options)


def of_image(function: Callable[..., Any], **options: Any) -> Callable[[], Program]:
    return lambda: program(net(function), IMAGE.clone(), **options)


# One function each, of samples and features.
FUNCTIONS: dict[str, Callable[[], Program]] = {
    "einsum": of_x(lambda x: torch.einsum("ni,ij,nj->n", x, WEIGHT, x)),
    "einsum of three": of_image(lambda x: torch.einsum("nchw,nchv,ndhw->ncdv", x, x.sin(), x)),
    "where": of_x(lambda x: torch.where(x > 0, x.exp(), 0.1 * x)),
    "where, a number": of_x(lambda x: torch.where(x > 0, x * x, -1.0)),
    "masked_fill": of_x(lambda x: x.masked_fill(x < -0.5, -9.0).softmax(1)),
    "masked_select": of_x(lambda x: x.masked_select(x > 0).square()),
    "masked_scatter": of_x(lambda x: x.masked_scatter(x > 0, x.flip(0) * 2)),
    "clamp": of_x(lambda x: x.clamp(-0.4, 0.6) * x),
    "clamp by tensors": of_x(lambda x: torch.clamp(x * 2, min=x.flip(0) - 1, max=x.flip(1) + 1)),
    "norms and divisions": of_x(lambda x: x / x.norm(dim=1, keepdim=True) + x / x.abs().sum()),
    "norm of order 3": of_x(lambda x: torch.linalg.vector_norm(x, 3, dim=1)),
    "largest norm": of_x(lambda x: x.norm(float("inf"), dim=1)),
    "F.normalize": of_x(lambda x: F.normalize(x, dim=1)),
    "cdist": of_x(lambda x: torch.cdist(x, WEIGHT)),
    "cdist of order 1": of_x(lambda x: torch.cdist(x, x * 2 + 1, p=1)),
    "softmax output": of_x(lambda x: torch.softmax(x @ WEIGHT, -1)),
    "log-softmax output": of_x(lambda x: F.log_softmax(x @ WEIGHT, -1)),
    "softmax in a dict": of_x(lambda x: {"p": torch.softmax(x, 1), "x": x.sum(1)}),
    "cumsum": of_x(lambda x: x.cumsum(1).flip(1)),
    "cumprod": of_x(lambda x: x.cumprod(1)),
    "cummax": of_x(lambda x: x.cummax(1).values),
    "logcumsumexp": of_x(lambda x: x.logcumsumexp(1)),
    "sort": of_x(lambda x: x.sort(1, descending=True)[0] * torch.arange(5)),
    "argsort and take": of_x(lambda x: torch.take_along_dim(x, x.argsort(1), 1) * torch.arange(5)),
    "topk": of_x(lambda x: x.topk(2, 1).values),
    "kthvalue": of_x(lambda x: x.kthvalue(2, 1).values),
    "median": of_x(lambda x: x.median(1).values),
    "mode of quantiles": of_x(lambda x: x.quantile(torch.tensor([0.3, 0.8]).double(), dim=1)),
    "gather": of_x(lambda x: x.gather(1, INDEX)),
    "scatter": of_x(lambda x: torch.zeros(3, 5).double().scatter(1, INDEX, x[:, :2])),
    "scatter_add": of_x(lambda x: x.scatter_add(1, INDEX, x[:, 2:4] ** 2)),
    "scatter_reduce": of_x(lambda x: x.scatter_reduce(1, INDEX, x[:, 2:4] * 3, "amax")),
    "index_add": of_x(lambda x: x.index_add(0, torch.tensor([0, 0]), x[1:] * x[:2])),
    "index_copy": of_x(lambda x: x.index_copy(1, torch.tensor([3, 1]), x[:, :2] ** 2)),
    "index_fill": of_x(lambda x: x.index_fill(1, torch.tensor([3, 1]), 2.0) * x),
    "take": of_x(lambda x: x.take(torch.tensor([0, 7, 7]))),
    "one_hot": of_x(lambda x: F.one_hot(x.argmax(1), 5).to(x) * x),
    "bucketize": of_x(lambda x: x * torch.bucketize(x, torch.tensor([-0.5, 0.5]).double())),
    "tensor_split": of_x(lambda x: torch.hstack([p.sum(1) for p in x.tensor_split((1, 3), 1)])),
    "meshgrid and outer": of_x(
        lambda x: torch.outer(x[0], x[1]) + torch.meshgrid(x[0], x[2], indexing="ij")[1]
    ),
    "kron": of_x(lambda x: torch.kron(x[:2, :2], x[1:, 2:])),
    "tril and triu": of_x(lambda x: x.T @ x.tril() + x.triu(1).sum()),
    "diag_embed": of_x(lambda x: torch.diag_embed(x) @ WEIGHT + torch.diagonal(x.T @ x)),
    "trace and det": of_x(lambda x: (x.T @ x + torch.eye(5)).det() + torch.trace(x[:, :3])),
    "solve": of_x(lambda x: torch.linalg.solve(WEIGHT + torch.diag(x[0]), x.T)),
    "inverse": of_x(lambda x: torch.linalg.inv(x.T @ x + torch.eye(5))),
    "cholesky": of_x(lambda x: torch.linalg.cholesky(x @ x.T + torch.eye(3))),
    "symmetric eigenvalues": of_x(lambda x: torch.linalg.eigvalsh(x @ x.T)),
    "singular values": of_x(lambda x: torch.linalg.svdvals(x)),
    "matrix exponential": of_x(lambda x: torch.matrix_exp(x[:, :3])),
    "logsumexp": of_x(lambda x: torch.logsumexp(x, 1) + torch.logaddexp(x, x.flip(1)).sum(1)),
    "prod": of_x(lambda x: x.prod(1)),
    "var and std": of_x(lambda x: x.var(0, correction=0) + x.std(0) + torch.var_mean(x, 0)[1]),
    "lerp": of_x(lambda x: torch.lerp(x, x.flip(0), 0.3) + x.lerp(x.exp(), x.sigmoid())),
    "addcmul and addcdiv": of_x(
        lambda x: torch.addcmul(x, x, x.exp(), value=2).addcdiv_(x, 2 + x**2)
    ),
    "atan2 and hypot": of_x(lambda x: torch.atan2(x, x.flip(0)) + torch.hypot(x, x.flip(1))),
    "xlogy": of_x(lambda x: torch.xlogy(x.exp(), x**2 + 1)),
    "special": of_x(
        lambda x: torch.special.i0(x) + torch.erfinv(x.tanh()) + torch.lgamma(x**2 + 1)
    ),
    "remainder": of_x(lambda x: x % 0.7 + torch.fmod(x * 3, 1.0)),
    "floor division": of_x(lambda x: x * torch.div(x, 0.3, rounding_mode="floor")),
    "max and min of both": of_x(lambda x: torch.maximum(x, x.flip(1)) - torch.fmin(x, x.flip(0))),
    "minmax of all": of_x(lambda x: (x - x.min()) / (x.max() - x.min())),
    "nan_to_num": of_x(lambda x: torch.nan_to_num((x * 1e3).log(), nan=2.0)),
    "repeat_interleave": of_x(lambda x: x.repeat_interleave(torch.tensor([1, 2, 0, 1, 3]), 1)),
    "unfold of a tensor": of_x(lambda x: x.unfold(1, 3, 2) * torch.arange(3)),
    "roll and flip": of_x(lambda x: x.roll((1, 2), (0, 1)) * x.flip(0, 1)),
    "rot90": of_image(lambda x: torch.rot90(x, 1, (2, 3)) * x),
    "movedim and swapaxes": of_image(lambda x: x.movedim(1, -1).swapaxes(1, 2) * torch.arange(3)),
    "unflatten": of_image(lambda x: x.flatten(1).unflatten(1, (4, -1)).amax(1)),
    "pixel_unshuffle": of_image(lambda x: F.pixel_unshuffle(x, 2)),
    "grid_sample of constants": of_image(
        lambda x: F.grid_sample(x, normal(2, 4, 4, 2).tanh(), "bicubic", "reflection", True)
    ),
    "fold": of_image(lambda x: F.fold(F.unfold(x, 3, padding=1), (6, 6), 3, padding=1)),
    "bicubic": of_image(lambda x: F.interpolate(x, (9, 4), mode="bicubic", antialias=True)),
    "area": of_image(lambda x: F.interpolate(x, (4, 3), mode="area")),
    "nearest-exact": of_image(lambda x: F.interpolate(x, (9, 4), mode="nearest-exact")),
    "local response norm": of_image(lambda x: F.local_response_norm(x, 2)),
    "dropout that draws": of_x(lambda x: F.dropout(x @ WEIGHT, 0.5, training=True)),
    "rrelu that draws": of_x(lambda x: F.rrelu(x, training=True)),
    "gumbel softmax": of_x(lambda x: F.gumbel_softmax(x, tau=0.7)),
    "complex numbers": of_x(lambda x: torch.complex(x, x.flip(0)).abs() + (x * 1j).exp().real),
    "complex product": of_x(
        lambda x: torch.view_as_real(
            torch.view_as_complex(x[:, :4].contiguous().view(3, 2, 2)) ** 2
        )
    ),
    "polar": of_x(lambda x: torch.polar(x.exp(), x).imag + torch.angle(torch.complex(x, x**2))),
    "complex output": of_x(lambda x: torch.fft.fft(x)),
    "fft": of_image(lambda x: torch.fft.ifft2(torch.fft.fft2(x) * normal(6, 6)).real),
    "rfft": of_x(lambda x: torch.fft.irfft(torch.fft.rfft(x) * torch.arange(3), n=5)),
    "stft": of_x(
        lambda x: (
            torch.stft(x, 4, 2, window=torch.ones(4).double(), return_complex=True).abs().square()
        )
    ),
    "complex weights": of_x(
        lambda x: (x.to(torch.complex128) @ torch.complex(WEIGHT, WEIGHT.T)).abs()
    ),
    "float and back": of_x(lambda x: x.float().double() * x, rtol=1e-5, atol=1e-6),
    "through half precision": of_x(lambda x: (x.half() * 2).double(), rtol=1e-2),
    "broadcast": of_x(lambda x: x[:, None] * x[None] + torch.broadcast_to(x[0], (3, 5))),
    "numbers": of_x(lambda x: 2 / (3 - x.exp()) + 2**x - (-x) ** 2 + (x.abs() + 1) ** -0.5),
    "an operator with constants": of_x(lambda x: x.new_ones(3, 5) * 2 + torch.arange(5) * x),
    "views of the input": of_x(lambda x: x.T.contiguous().view(3, 5) * x.reshape(5, 3).t()),
    "as_strided": of_x(lambda x: x.as_strided((2, 4), (5, 1), 1) ** 2),
    "writes to the input": of_x(lambda x: x[:, :2].mul_(2) if x.mul_(1.5) is None else x.relu_()),
    "writes of one part": of_x(
        lambda x: (y := x * 1, y.__setitem__((slice(None), 0), x[:, 1] ** 2))[0]
    ),
    "a list of parts": of_x(lambda x: torch.stack([row * i for i, row in enumerate(x)])),
    "foreach": of_x(lambda x: torch._foreach_mul([x, x.exp()], [x, x])),
    "bilinear": of_x(lambda x: F.bilinear(x, x.flip(0), normal(2, 5, 5))),
    "embedding of a choice": of_x(lambda x: F.embedding(x.argmax(1), WEIGHT) * x),
    "multinomial": of_x(lambda x: x.gather(1, torch.multinomial(x.detach().softmax(1), 2))),
    "nested tensors": of_x(lambda x: x * torch.ones(3, 5).to_sparse().to_dense()),
    "sparse weights": of_x(lambda x: torch.sparse.mm(WEIGHT.relu().to_sparse(), x.T).T),
    "sparse weights by rows": of_x(lambda x: WEIGHT.relu().to_sparse_csr() @ x.T),
}

BOUNDED = ["acos", "asin", "atanh", "erfinv"]
POSITIVE = ["acosh", "digamma", "log10", "log2", "lgamma", "rsqrt", "reciprocal"]
ANY = ["asinh", "atan", "cosh", "sinh", "tan", "erf", "erfc", "exp2", "expm1", "frac", "square",
       "sinc", "cos", "i0", "deg2rad"]  # fmt: skip
SPECIAL = ["i0e", "i1", "i1e", "log_ndtr", "ndtr", "entr", "expit", "psi"]


def elementwise(name: str, before: Callable[[Tensor], Tensor], room: Any = torch) -> None:
    FUNCTIONS[name] = of_x(lambda x: getattr(room, name)(before(x)))


for name in BOUNDED:
    elementwise(name, lambda x: 0.9 * x.tanh())
for name in POSITIVE:
    elementwise(name, lambda x: x.square() + 1.1)
for name in ANY:
    elementwise(name, lambda x: x)
for name in SPECIAL:
    elementwise(name, lambda x: x.sigmoid() + 0.5, torch.special)

FUNCTIONS |= {
    "logit": of_x(lambda x: x.sigmoid().logit() + torch.logit(0.9 * x.sigmoid(), eps=0.3)),
    "ndtri": of_x(lambda x: torch.special.ndtri(x.sigmoid())),
    "polygamma": of_x(lambda x: torch.polygamma(1, x.square() + 1)),
    "steps beside": of_x(lambda x: x * (x.floor() + x.round() + x.sign() + x.ceil() + x.trunc())),
    "the smallest": of_x(lambda x: x * x.argmin(1, keepdim=True) + x.amin(0) - x.aminmax(dim=0)[1]),
    "clamp from above": of_x(lambda x: x.clamp_max(0.3) + x.clip(max=x.flip(0))),
    "noise of its shape": of_x(lambda x: x * torch.rand_like(x) + torch.randn_like(x)),
    "constants of its shape": of_x(lambda x: x * torch.full_like(x, 2) + torch.ones_like(x)),
    "index_put": of_x(lambda x: x.index_put((torch.tensor([0, 2]), INDEX[:2, 0]), x[0, :2] ** 2)),
    "select_scatter": of_x(lambda x: x.select_scatter(x[:, 0].exp(), 1, 2)),
    "slice_scatter": of_x(lambda x: x.slice_scatter(x[:, :2].exp(), 1, 1, 4, 2)),
    "diagonal_scatter": of_x(lambda x: x.diagonal_scatter(x[:, 0].exp(), 1)),
    "repeat": of_x(lambda x: x.repeat(2, 2) * torch.arange(10)),
    "tile": of_x(lambda x: x.tile(2) * torch.arange(10)),
    "batch norm of the batch": of_image(lambda x: F.batch_norm(x, None, None, training=True)),
    "nearest in one": of_image(lambda x: F.interpolate(x.flatten(2), 50, mode="nearest-exact")),
    "nearest in three": of_image(lambda x: F.interpolate(x[:, None], (4, 9, 5))),
    "bicubic without filter": of_image(lambda x: F.interpolate(x, (9, 4), mode="bicubic")),
    "bilinear with filter": of_image(
        lambda x: F.interpolate(x, (3, 4), mode="bilinear", antialias=True)
    ),
}
