from spatialbook.depth.reference import CrossAttention as BinauralCrossAttention
from spatialbook.depth.reference import Encoder as BinauralEncoder
from spatialbook.depth.reference import Reference as BinauralAttentionDepthNet
