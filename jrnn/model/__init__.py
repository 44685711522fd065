"""LAYERS TOGETHER: typed layer configs, a graph of them, one pure ``apply``."""

from jrnn.exported import register
from jrnn.model.activation import PReLUParams
from jrnn.model.attention import AttentionParams
from jrnn.model.batch_normalization import BatchNormalizationParams, MovingStatistics
from jrnn.model.convolution import ConvolutionParams, SeparableConvolutionParams
from jrnn.model.einsum import EinsumDenseParams
from jrnn.model.graph import Model
from jrnn.model.multi_head import MultiHeadAttentionParams, ProjectionParams
from jrnn.model.normalization import LayerNormalizationParams, NormalizationParams
from jrnn.model.older import HighwayParams
from jrnn.model.quantized import QuantizedDenseParams, QuantizedEmbeddingParams
from jrnn.model.spectral import SpectralNormalizationParams
from jrnn.model.stream_layers import Pooled, Remembered, SeenInputs

__all__ = ["Model"]

# What parameters and states hold.
register(
    "jrnn.model",
    (
        AttentionParams,
        BatchNormalizationParams,
        ConvolutionParams,
        EinsumDenseParams,
        HighwayParams,
        LayerNormalizationParams,
        MovingStatistics,
        MultiHeadAttentionParams,
        NormalizationParams,
        PReLUParams,
        Pooled,
        ProjectionParams,
        QuantizedDenseParams,
        QuantizedEmbeddingParams,
        Remembered,
        SeenInputs,
        SeparableConvolutionParams,
        SpectralNormalizationParams,
    ),
)
