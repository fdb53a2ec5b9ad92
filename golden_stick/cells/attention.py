"""
MindSpore's attention with an inner width of its own.

`nn.MultiheadAttention` takes the width of its queries for that of its heads, so it cannot lose a channel of the one
without the other. It is traced, and slimmed, as `OpenAttention`, which reads every width from its weights.
"""
from typing import Tuple

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

__all__ = ["OpenAttention", "close_attention", "open_attention", "resize_attention"]


class _Projection(nn.Cell):
    """
    A dense layer whose weight is handed to it.

    Inputs:
        - **data** (Tensor) - Shape (..., C_in).
        - **weight** (Tensor) - Shape (C_out, C_in).
        - **bias** (Tensor) - Shape (C_out,), or None.

    Outputs:
        Tensor, shape (..., C_out).

    Supported Platforms:
        ``CPU``
    """

    def __init__(self):
        super().__init__()
        # Functions of `ops` are compiled once for all Cells, so that the graph would tell of another one.
        self.matmul, self.bias_add, self.reshape = ops.MatMul(transpose_b=True), ops.BiasAdd(), ops.Reshape()

    def construct(self, data, weight, bias):
        made = self.matmul(self.reshape(data, (-1, data.shape[-1])), weight)
        if bias is not None:
            made = self.bias_add(made, bias)
        return self.reshape(made, data.shape[:-1] + (weight.shape[0],))


class OpenAttention(nn.MultiheadAttention):
    """
    `nn.MultiheadAttention` whose heads may be fewer or narrower than the queries are wide.

    It is made of one by changing its class, and gives the same. See `nn.MultiheadAttention` for what it takes.

    Inputs:
        - **query**, **key**, **value** (Tensor) - As there, and so are the others.

    Outputs:
        Tuple of `attn_output` and, if `need_weights`, `attn_output_weights`.

    Supported Platforms:
        ``CPU``
    """

    def construct(self, query, key, value, key_padding_mask=None, need_weights=True, attn_mask=None,
                  average_attn_weights=True):
        batched = query.ndim == 3
        if not batched:
            query, key, value = query.expand_dims(0), key.expand_dims(0), value.expand_dims(0)
            key_padding_mask = None if key_padding_mask is None else key_padding_mask.expand_dims(0)
        elif not self.batch_first:
            query, key, value = query.swapaxes(0, 1), key.swapaxes(0, 1), value.swapaxes(0, 1)
        weights = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        if self.in_proj_weight is not None:
            weights = ops.split(self.in_proj_weight, self.in_proj_weight.shape[0] // 3)
        biases = (None, None, None)
        if self.in_proj_bias is not None:
            biases = ops.split(self.in_proj_bias, self.in_proj_bias.shape[0] // 3)
        query = self.query(query, weights[0], biases[0])
        key = self.key(key, weights[1], biases[1])
        value = self.value(value, weights[2], biases[2])
        if self.bias_k is not None:
            key = ops.concat((key, self.bias_k.tile((key.shape[0], 1, 1))), 1)
            value = ops.concat((value, self.bias_v.tile((value.shape[0], 1, 1))), 1)
        query, key, value = self._heads(query), self._heads(key), self._heads(value)
        if self.add_zero_attn:
            key, value = ops.pad(key, (0, 0, 0, 1)), ops.pad(value, (0, 0, 0, 1))
        scores = ops.matmul(query / self.root, key.swapaxes(-2, -1) / self.root)
        mask = self._mask(attn_mask, key_padding_mask, query, key)
        scores = ops.softmax(scores if mask is None else scores + mask, -1)
        if self.dropout > 0:
            scores = ops.dropout(scores, self.dropout, self.training)
        made = ops.matmul(scores, value).transpose(0, 2, 1, 3)
        made = self.out_proj(made.reshape(made.shape[0], made.shape[1], -1))
        if not batched:
            made = made.squeeze(0)
        elif not self.batch_first:
            made = made.swapaxes(0, 1)
        if not need_weights:
            return (made,)
        if average_attn_weights:
            scores = scores.sum(axis=1) / self.num_heads
        return made, scores if batched else scores.squeeze(0)

    def _heads(self, data):
        return data.reshape(data.shape[0], data.shape[1], self.num_heads, -1).transpose(0, 2, 1, 3)

    def _mask(self, attn_mask, key_padding_mask, query, key):
        """What is added to the scores; of positions that were added to the keys, nothing is hidden."""
        mask = attn_mask
        if mask is not None:
            mask = mask.astype(ms.bool_) if mask.dtype == ms.uint8 else mask
            mask = self._widened(mask, key.shape[2])
            if mask.ndim == 3:
                mask = mask.reshape(query.shape[0], self.num_heads, query.shape[2], key.shape[2])
        if key_padding_mask is not None:
            padding = self._widened(key_padding_mask, key.shape[2])
            padding = padding.reshape(padding.shape[0], 1, 1, padding.shape[1])
            if mask is None:
                mask = padding
            else:
                mask = ops.logical_or(mask, padding) if mask.dtype == ms.bool_ else mask + padding
        if mask is not None and mask.dtype == ms.bool_:
            mask = ops.zeros(mask.shape, query.dtype).masked_fill(mask, float("-inf"))
        return mask

    def _widened(self, mask, width):
        if mask.shape[-1] == width:
            return mask
        return ops.concat((mask, ops.zeros(mask.shape[:-1] + (width - mask.shape[-1],), mask.dtype)), -1)


def open_attention(cell: nn.Cell) -> None:
    """Make an `nn.MultiheadAttention` an open one."""
    cell.__class__ = OpenAttention
    cell.query, cell.key, cell.value = _Projection(), _Projection(), _Projection()
    # What scores are divided by stays, however narrow heads become.
    cell.root = Tensor(np.sqrt(np.sqrt(np.float32(cell.head_dim))), cell.dtype)


def close_attention(cell: nn.Cell) -> None:
    """Undo `open_attention`, unless its heads have changed since."""
    if cell.head_dim * cell.num_heads == cell.embed_dim and np.isclose(cell.root.asnumpy(), cell.head_dim ** 0.25):
        del cell.root, cell.query, cell.key, cell.value
        cell.__class__ = nn.MultiheadAttention


def resize_attention(inner: int, kept: Tuple[int, ...], cell: nn.Cell) -> None:
    """Set the widths of an attention that kept these of the `inner` channels that its heads made."""
    width = inner // cell.num_heads
    if type(cell) is nn.MultiheadAttention:
        open_attention(cell)
    cell.num_heads = len({position // width for position in kept})
    cell.head_dim = len(kept) // cell.num_heads
    weights = [weight for weight in (cell.in_proj_weight, cell.q_proj_weight) if weight is not None]
    cell.embed_dim = weights[0].shape[1]
    cell.kdim, cell.vdim = ((weight.shape[1] if weight is not None else cell.embed_dim)
                            for weight in (cell.k_proj_weight, cell.v_proj_weight))
