"""The language models of the table of models: token ids (n, length) to logits of each next token (n, length, V).

The logits of a position depend on its token and those before it. No position is padding.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from optstudy.tasks.arrays import Inputs

INITIAL_SD = 0.02  # of weight matrices and embeddings, as in GPT-2


class Gpt(nn.Module):
    """A decoder-only transformer as GPT-2 (Radford et al. 2019) and nanoGPT have it.

    Learned positions; pre-norm blocks of causal attention and of a perceptron with GELU; a last norm; the head shares
    the weights of the token embeddings. Weights are N(0, 0.02^2), those of the projections back to the residual stream
    N(0, 0.02^2 / (2 layers)), biases 0.

    Args:
        inputs: Of shape (context,): the longest input.
        layers: Number of blocks.
        heads: Number of attention heads, a divisor of `width`.
        width: Size of the residual stream; the perceptrons have four times as many units.
        dropout: Probability of dropout on embeddings, on attention weights, and on what each block adds.
        bias: Whether linear layers and norms have biases.
    """

    def __init__(self, inputs: Inputs, layers: int, heads: int, width: int, dropout: float, bias: bool) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(inputs.tokens, width), nn.Embedding(inputs.shape[0], width)
        self.dropout = nn.Dropout(dropout)
        blocks = [GptBlock(heads, width, dropout, bias) for _ in range(layers)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(width, bias=bias)
        self.head = nn.Linear(width, inputs.classes, bias=False)
        self.apply(_initialise)
        for layer in (layer for block in blocks for layer in (block.joined, block.narrowed)):
            nn.init.normal_(layer.weight, std=INITIAL_SD / math.sqrt(2 * layers))
        self.head.weight = self.tokens.weight

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (n, length, V) of token ids (n, length), where length is at most the context."""
        states = self.tokens(x) + self.positions(torch.arange(x.shape[1], device=x.device))
        states = self.dropout(states)
        for block in self.blocks:
            states = block(states)
        return self.head(self.norm(states))  # type: ignore[no-any-return]


class GptBlock(nn.Module):
    """Causal attention, then a perceptron with GELU; each reads the norm of its input and adds to it."""

    def __init__(self, heads: int, width: int, dropout: float, bias: bool) -> None:
        super().__init__()
        self.heads, self.dropout = heads, nn.Dropout(dropout)
        self.norm1, self.norm2 = nn.LayerNorm(width, bias=bias), nn.LayerNorm(width, bias=bias)
        self.qkv, self.joined = nn.Linear(width, 3 * width, bias), nn.Linear(width, width, bias)
        self.widened, self.narrowed = nn.Linear(width, 4 * width, bias), nn.Linear(4 * width, width, bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, length, width)."""
        x = x + self.dropout(self._attended(self.norm1(x)))
        return x + self.dropout(self.narrowed(functional.gelu(self.widened(self.norm2(x)))))  # type: ignore[no-any-return]

    def _attended(self, x: Tensor) -> Tensor:
        n, length, width = x.shape
        parts = self.qkv(x).view(n, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # each (n, heads, length, width / heads)
        probability = self.dropout.p if self.training else 0.0
        read = functional.scaled_dot_product_attention(query, key, value, dropout_p=probability, is_causal=True)
        return self.joined(read.transpose(1, 2).reshape(n, length, width))  # type: ignore[no-any-return]


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=INITIAL_SD)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


class TokenLstm(nn.Module):
    """Token embeddings, `layers` LSTM layers of `width` units and a linear head; each input starts at a state of 0."""

    def __init__(self, inputs: Inputs, layers: int, width: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(inputs.tokens, width)
        self.lstm = nn.LSTM(width, width, layers, batch_first=True)
        self.head = nn.Linear(width, inputs.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (n, length, V) of token ids (n, length)."""
        return self.head(self.lstm(self.tokens(x))[0])  # type: ignore[no-any-return]
