"""Features of whole clips for the classical models: frames, statistics of frames, alignment, openSMILE's sets.

Every source of features looks at one clip at a time, so a clip's features can't depend on its neighbours.
"""

from ser.features.extraction import SOURCES, load_features

__all__ = ["SOURCES", "load_features"]
